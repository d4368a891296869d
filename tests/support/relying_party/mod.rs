//! A small relying party on the `openidconnect` crate, which knows nothing of Signet: the demo shows it, the browser
//! test uses it.
//!
//! It does what OpenID Connect Core §3.1 asks of a client: state and nonce bound to the browser, PKCE (RFC 7636),
//! `iss` in the response (RFC 9207), the ID token verified with the published keys, which it fetches again when it
//! meets a kid that it does not know (§10.1.1).

mod page;
mod server;

use std::pin::Pin;
use std::sync::Mutex;

use anyhow::{Context as _, bail, ensure};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreUserInfoClaims};
use openidconnect::{
    AccessToken, AccessTokenHash, AsyncHttpClient, AuthorizationCode, ClaimsVerificationError,
    ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, IssuerUrl, JsonWebKey as _, LogoutRequest, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, ProviderMetadataWithLogout,
    RedirectUrl, Scope, SignatureVerificationError, SubjectIdentifier, TokenResponse as _,
};
use serde_json::Value;

pub use server::serve;

use crate::http;

/// What the demo says beside the claims.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The OpenID Provider.
    pub issuer: String,
    /// This client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its own address, without a slash at the end; `/callback` below it is the redirect URI.
    pub own_url: String,
    /// Where the signing key lives, for people.
    pub location: String,
    /// The command that rotates it.
    pub rotate: String,
}

/// A browser that was sent to the provider, and what must come back.
#[derive(Debug)]
struct Pending {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

/// A login whose ID token was verified.
#[derive(Clone, Debug)]
struct Login {
    /// Header member `kid`.
    kid: String,
    /// Header member `alg`.
    alg: String,
    /// Of the ID token.
    claims: Value,
    /// From the userinfo endpoint.
    user: Value,
    id_token: CoreIdToken,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// An answer that did not come, in a form that the crate accepts.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct NoAnswer(anyhow::Error);

/// The relying party.
#[derive(Debug)]
pub struct RelyingParty {
    settings: Settings,
    http: http::Client,
    /// Discovery document and JWK Set, kept until a kid is unknown.
    provider: Mutex<Option<ProviderMetadataWithLogout>>,
}

impl RelyingParty {
    /// Talks to the provider through `http`; asks it nothing yet.
    #[must_use]
    pub fn new(settings: Settings, http: http::Client) -> Self {
        Self {
            settings,
            http,
            provider: Mutex::new(None),
        }
    }

    /// Where the browser goes to sign in, and what must come back.
    async fn begin(&self) -> anyhow::Result<(String, Pending)> {
        let client = self.client(&self.provider().await?)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(["profile", "email"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let pending = Pending {
            state,
            nonce,
            verifier,
        };
        Ok((url.into(), pending))
    }

    /// Takes the authorization response in `query` for what it must be, and redeems its code.
    async fn finish(&self, query: &str, pending: Pending) -> anyhow::Result<Login> {
        let one = |name: &str| {
            let mut values =
                form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
            values.next().map(|(_, value)| value.into_owned())
        };
        ensure!(
            one("state").as_deref() == Some(pending.state.secret()),
            "the state is not ours"
        );
        // RFC 9207 §2.4: also in error responses.
        ensure!(
            one("iss").as_deref() == Some(&self.settings.issuer),
            "another issuer answered"
        );
        if let Some(error) = one("error") {
            bail!("the provider says: {error}");
        }
        let code = AuthorizationCode::new(one("code").context("no code")?);

        let metadata = self.provider().await?;
        let client = self.client(&metadata)?;
        let tokens = client
            .exchange_code(code)?
            .set_pkce_verifier(pending.verifier)
            .request_async(&self.http)
            .await
            .context("the code was not accepted")?;
        let id_token = tokens.id_token().context("no ID token")?;
        let login = match self.verify(&client, id_token, tokens.access_token(), &pending.nonce) {
            Err(error) if is_unknown_key(&error) => {
                self.forget();
                let client = self.client(&self.provider().await?)?;
                self.verify(&client, id_token, tokens.access_token(), &pending.nonce)
            }
            verified => verified,
        }
        .context("the ID token was not accepted")?;

        let subject = login.claims["sub"].as_str().unwrap_or_default().to_owned();
        let user: CoreUserInfoClaims = client
            .user_info(
                tokens.access_token().clone(),
                Some(SubjectIdentifier::new(subject)),
            )?
            .request_async(&self.http)
            .await
            .context("no userinfo")?;
        Ok(Login {
            user: serde_json::to_value(user)?,
            ..login
        })
    }

    fn verify(
        &self,
        client: &Client,
        id_token: &CoreIdToken,
        access_token: &AccessToken,
        nonce: &Nonce,
    ) -> anyhow::Result<Login> {
        let verifier = client.id_token_verifier();
        let claims = id_token.claims(&verifier, nonce)?;
        let key = id_token.signing_key(&verifier)?;
        let alg = id_token.signing_alg()?;
        // §3.1.3.8: at_hash is optional in this flow, but if it is there it must fit.
        if let Some(at_hash) = claims.access_token_hash() {
            let expected = AccessTokenHash::from_token(access_token, alg, key)?;
            ensure!(expected == *at_hash, "at_hash is of another access token");
        }
        Ok(Login {
            kid: key.key_id().map(|kid| kid.to_string()).unwrap_or_default(),
            alg: serde_json::to_value(alg)?
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            claims: serde_json::to_value(claims)?,
            user: Value::Null,
            id_token: id_token.clone(),
        })
    }

    /// Where the browser goes to sign out at the provider too (RP-Initiated Logout §2).
    async fn sign_out(&self, login: &Login) -> anyhow::Result<String> {
        let metadata = self.provider().await?;
        let endpoint = metadata.additional_metadata().end_session_endpoint.clone();
        let own_url = PostLogoutRedirectUrl::new(format!("{}/", self.settings.own_url))?;
        let request = LogoutRequest::from(endpoint.context("the provider has no logout")?)
            .set_id_token_hint(&login.id_token)
            .set_post_logout_redirect_uri(own_url);
        Ok(request.http_get_url().into())
    }

    async fn provider(&self) -> anyhow::Result<ProviderMetadataWithLogout> {
        if let Some(known) = self.provider.lock().ok().and_then(|known| known.clone()) {
            return Ok(known);
        }
        let issuer = IssuerUrl::new(self.settings.issuer.clone())?;
        let metadata = ProviderMetadataWithLogout::discover_async(issuer, &self.http)
            .await
            .context("the provider cannot be discovered")?;
        if let Ok(mut known) = self.provider.lock() {
            *known = Some(metadata.clone());
        }
        Ok(metadata)
    }

    fn forget(&self) {
        if let Ok(mut known) = self.provider.lock() {
            *known = None;
        }
    }

    fn client(&self, metadata: &ProviderMetadataWithLogout) -> anyhow::Result<Client> {
        let settings = &self.settings;
        Ok(CoreClient::from_provider_metadata(
            metadata.clone(),
            ClientId::new(settings.client_id.clone()),
            Some(ClientSecret::new(settings.client_secret.clone())),
        )
        .set_redirect_uri(RedirectUrl::new(format!("{}/callback", settings.own_url))?))
    }
}

impl<'c> AsyncHttpClient<'c> for http::Client {
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, NoAnswer>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async { self.send(request).await.map_err(NoAnswer) })
    }
}

fn is_unknown_key(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey
        ))
    )
}
