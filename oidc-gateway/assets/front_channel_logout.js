// OpenID Connect Front-Channel Logout 1.0 §3: in each frame a relying party signs the person out. When all have loaded,
// or one takes too long, the browser goes on. Without scripts, the page does so after a while.
"use strict";

(function () {
  var next = document.getElementById("logout-continue");
  function proceed() {
    window.location.replace(next.href);
  }
  if (document.readyState === "complete") {
    proceed();
  } else {
    window.addEventListener("load", proceed);
    window.setTimeout(proceed, 5000);
  }
})();
