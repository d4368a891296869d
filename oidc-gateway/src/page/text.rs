//! The words of the pages, in one place for each language.

/// The words of one language.
#[derive(Debug)]
pub(crate) struct Text {
    /// BCP 47, for the `lang` attribute.
    pub(crate) language: &'static str,
    pub(crate) sign_in: &'static str,
    pub(crate) to_continue_to: &'static str,
    pub(crate) username: &'static str,
    pub(crate) password: &'static str,
    pub(crate) cancel: &'static str,
    pub(crate) login_refused: &'static str,
    pub(crate) login_throttled: &'static str,
    pub(crate) login_busy: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) terms: &'static str,
    pub(crate) consent: &'static str,
    pub(crate) consent_asks: &'static str,
    pub(crate) signed_in_as: &'static str,
    pub(crate) allow: &'static str,
    pub(crate) deny: &'static str,
    pub(crate) remember: &'static str,
    pub(crate) error: &'static str,
    pub(crate) request: &'static str,
    pub(crate) form_post: &'static str,
    pub(crate) form_post_hint: &'static str,
    pub(crate) proceed: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) sign_out_asks: &'static str,
    pub(crate) logged_out: &'static str,
    pub(crate) logged_out_hint: &'static str,
    pub(crate) logout_error: &'static str,
    scopes: [(&'static str, &'static str); 6],
}

impl Text {
    /// A scope value in words; empty if it is not one of OpenID Connect Core.
    pub(crate) fn scope(&self, name: &str) -> &'static str {
        let known = self.scopes.iter().find(|(scope, _)| *scope == name);
        known.map_or("", |(_, words)| words)
    }
}

/// English.
pub(crate) static ENGLISH: Text = Text {
    language: "en",
    sign_in: "Sign in",
    to_continue_to: "to continue to",
    username: "User name",
    password: "Password",
    cancel: "Cancel",
    login_refused: "The user name or the password is not right.",
    login_throttled: "Too many tries. Wait a while, then try again.",
    login_busy: "Too many people are signing in right now. Try again in a moment.",
    policy: "Privacy policy",
    terms: "Terms of service",
    consent: "Allow access?",
    consent_asks: "asks for:",
    signed_in_as: "Signed in as",
    allow: "Allow",
    deny: "Deny",
    remember: "Remember this decision",
    error: "Authorization error",
    request: "Request",
    form_post: "One moment",
    form_post_hint: "You are being taken back to the application. If nothing happens, continue yourself.",
    proceed: "Continue",
    sign_out: "Sign out",
    sign_out_asks: "Do you want to sign out?",
    logged_out: "You are logged out",
    logged_out_hint: "You can close this window.",
    logout_error: "Logout error",
    scopes: [
        ("openid", "Know who you are, by an identifier"),
        ("profile", "Your name and your profile"),
        ("email", "Your e-mail address"),
        ("address", "Your postal address"),
        ("phone", "Your telephone number"),
        ("offline_access", "Keep this access while you are away"),
    ],
};

/// On an error page: something of ours is out of order.
pub(crate) const UNAVAILABLE: &str =
    "This service is not available right now. Try again in a moment.";

/// On an error page: the request is not understood.
pub(crate) const NOT_UNDERSTOOD: &str = "The request is not understood.";

/// On an error page: a form, or a page, of an interaction that is over or that another browser began.
pub(crate) const INTERACTION_ENDED: &str = "This sign-in has ended, or was begun in another browser. Go back to the application and start again.";
