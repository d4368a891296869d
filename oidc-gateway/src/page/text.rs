//! The words of the pages, in one place for each language.

use super::locale::Locales;

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
    pub(crate) consent_claims: &'static str,
    pub(crate) remember: &'static str,
    pub(crate) select_account: &'static str,
    pub(crate) continue_as: &'static str,
    pub(crate) another_account: &'static str,
    pub(crate) error: &'static str,
    pub(crate) request: &'static str,
    pub(crate) form_post: &'static str,
    pub(crate) form_post_hint: &'static str,
    pub(crate) proceed: &'static str,
    pub(crate) sign_out: &'static str,
    pub(crate) sign_out_asks: &'static str,
    pub(crate) logged_out: &'static str,
    pub(crate) logged_out_hint: &'static str,
    pub(crate) logged_out_proceeds: &'static str,
    pub(crate) logout_error: &'static str,
    pub(crate) applications: &'static str,
    scopes: [(&'static str, &'static str); 6],
}

/// The languages there are: what the discovery document says and what `ui_locales` picks from.
pub(crate) static ALL: [&Text; 3] = [&ENGLISH, &GERMAN, &FRENCH];

impl Text {
    /// The words in the language that fits best; English where none does.
    pub(crate) fn of(preferred: &Locales) -> &'static Text {
        let find = |range: &str| ALL.into_iter().find(|text| text.language == range);
        preferred.lookup(find).unwrap_or(&ENGLISH)
    }

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
    consent_claims: "These details about you:",
    remember: "Remember this decision",
    select_account: "Choose an account",
    continue_as: "Continue as",
    another_account: "Sign in as somebody else",
    error: "Authorization error",
    request: "Request",
    form_post: "One moment",
    form_post_hint: "You are being taken back to the application. If nothing happens, continue yourself.",
    proceed: "Continue",
    sign_out: "Sign out",
    sign_out_asks: "Do you want to sign out?",
    logged_out: "You are logged out",
    logged_out_hint: "You can close this window.",
    logged_out_proceeds: "Signing you out of the applications …",
    logout_error: "Logout error",
    applications: "Applications",
    scopes: [
        ("openid", "Know who you are, by an identifier"),
        ("profile", "Your name and your profile"),
        ("email", "Your e-mail address"),
        ("address", "Your postal address"),
        ("phone", "Your telephone number"),
        ("offline_access", "Keep this access while you are away"),
    ],
};

/// German.
static GERMAN: Text = Text {
    language: "de",
    sign_in: "Anmelden",
    to_continue_to: "um fortzufahren zu",
    username: "Benutzername",
    password: "Passwort",
    cancel: "Abbrechen",
    login_refused: "Der Benutzername oder das Passwort stimmt nicht.",
    login_throttled: "Zu viele Versuche. Bitte warten Sie eine Weile und versuchen Sie es dann noch einmal.",
    login_busy: "Gerade melden sich zu viele Personen an. Bitte versuchen Sie es gleich noch einmal.",
    policy: "Datenschutzerklärung",
    terms: "Nutzungsbedingungen",
    consent: "Zugriff erlauben?",
    consent_asks: "bittet um:",
    signed_in_as: "Angemeldet als",
    allow: "Erlauben",
    deny: "Ablehnen",
    consent_claims: "Diese Angaben über Sie:",
    remember: "Diese Entscheidung merken",
    select_account: "Konto auswählen",
    continue_as: "Weiter als",
    another_account: "Als jemand anderes anmelden",
    error: "Fehler bei der Autorisierung",
    request: "Anfrage",
    form_post: "Einen Augenblick",
    form_post_hint: "Sie werden zur Anwendung zurückgebracht. Wenn nichts geschieht, gehen Sie selbst weiter.",
    proceed: "Weiter",
    sign_out: "Abmelden",
    sign_out_asks: "Möchten Sie sich abmelden?",
    logged_out: "Sie sind abgemeldet",
    logged_out_hint: "Sie können dieses Fenster schließen.",
    logged_out_proceeds: "Sie werden bei den Anwendungen abgemeldet …",
    logout_error: "Fehler beim Abmelden",
    applications: "Anwendungen",
    scopes: [
        ("openid", "Wissen, wer Sie sind, anhand einer Kennung"),
        ("profile", "Ihr Name und Ihr Profil"),
        ("email", "Ihre E-Mail-Adresse"),
        ("address", "Ihre Postanschrift"),
        ("phone", "Ihre Telefonnummer"),
        (
            "offline_access",
            "Diesen Zugriff behalten, während Sie abwesend sind",
        ),
    ],
};

/// French.
static FRENCH: Text = Text {
    language: "fr",
    sign_in: "Se connecter",
    to_continue_to: "pour continuer vers",
    username: "Nom d’utilisateur",
    password: "Mot de passe",
    cancel: "Annuler",
    login_refused: "Le nom d’utilisateur ou le mot de passe n’est pas correct.",
    login_throttled: "Trop de tentatives. Attendez un moment, puis réessayez.",
    login_busy: "Trop de personnes se connectent en ce moment. Réessayez dans un instant.",
    policy: "Politique de confidentialité",
    terms: "Conditions d’utilisation",
    consent: "Autoriser l’accès ?",
    consent_asks: "demande :",
    signed_in_as: "Connecté en tant que",
    allow: "Autoriser",
    deny: "Refuser",
    consent_claims: "Ces informations sur vous :",
    remember: "Se souvenir de cette décision",
    select_account: "Choisir un compte",
    continue_as: "Continuer en tant que",
    another_account: "Se connecter avec un autre compte",
    error: "Erreur d’autorisation",
    request: "Requête",
    form_post: "Un instant",
    form_post_hint: "Vous allez être ramené à l’application. Si rien ne se passe, continuez vous-même.",
    proceed: "Continuer",
    sign_out: "Se déconnecter",
    sign_out_asks: "Voulez-vous vous déconnecter ?",
    logged_out: "Vous êtes déconnecté",
    logged_out_hint: "Vous pouvez fermer cette fenêtre.",
    logged_out_proceeds: "Vous êtes en train d’être déconnecté des applications …",
    logout_error: "Erreur de déconnexion",
    applications: "Applications",
    scopes: [
        ("openid", "Savoir qui vous êtes, par un identifiant"),
        ("profile", "Votre nom et votre profil"),
        ("email", "Votre adresse électronique"),
        ("address", "Votre adresse postale"),
        ("phone", "Votre numéro de téléphone"),
        ("offline_access", "Garder cet accès pendant votre absence"),
    ],
};

/// On an error page: something of ours is out of order.
pub(crate) const UNAVAILABLE: &str =
    "This service is not available right now. Try again in a moment.";

/// On an error page: what was asked for cannot be, until an operator mends it.
pub(crate) const MISCONFIGURED: &str =
    "This service is not set up for what the application asks of it. Please tell its operators.";

/// On an error page: the request is not understood.
pub(crate) const NOT_UNDERSTOOD: &str = "The request is not understood.";

/// On an error page: a form, or a page, of an interaction that is over or that another browser began.
pub(crate) const INTERACTION_ENDED: &str = "This sign-in has ended, or was begun in another browser. Go back to the application and start again.";
