// OAuth 2.0 Form Post Response Mode §2: sends the response on. Without scripts, the button does.
document.getElementById("form-post").submit();
