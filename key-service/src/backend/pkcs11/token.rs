//! The token: found by its label, logged in to once, and brought back after a failure.
//!
//! Every call into the module happens between [`Token::enter`] and the drop of what it answers, so that a recovery
//! can wait until nobody is inside. Sessions are never closed by a drop: after a re-initialisation the module gives
//! the same numbers to new sessions, and a late close would end one of those.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as ModuleError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use zeroize::Zeroize as _;

use super::error::Failure;
use super::patience::{is_failure, patiently};
use super::{Settings, error, trial};
use crate::backend::{Error, Facts, State};

/// The pause before the first try to bring the token back, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The longest PIN file, in octets.
const LONGEST_PIN: u64 = 512;

/// A token that was found and logged in to.
pub(super) struct Token {
    pub(super) settings: Settings,
    module: Pkcs11,
    world: RwLock<World>,
    is_down: AtomicBool,
    /// A refused PIN is never tried again: three tries lock a token.
    is_pin_refused: AtomicBool,
    /// Whether a key of ours was ever seen in it.
    has_keys: AtomicBool,
}

/// What a re-initialisation replaces.
#[derive(Clone, Copy)]
pub(super) struct World {
    pub(super) slot: Slot,
    /// Sessions of another epoch are gone.
    pub(super) epoch: u64,
}

impl Token {
    pub(super) fn open(settings: &Settings) -> Result<Token, Error> {
        let path = &settings.module;
        if !path.is_absolute() {
            return Err(Error::Unusable(format!(
                "the module must be an absolute path, not {}",
                path.display()
            )));
        }
        if !path.exists() {
            return Err(Error::Unusable(format!(
                "there is no PKCS#11 module {}",
                path.display()
            )));
        }
        let module = Pkcs11::new(path).map_err(|error| {
            Error::Unusable(format!(
                "cannot load the module {}: {error}",
                path.display()
            ))
        })?;
        let does_not_start = |error: ModuleError| {
            Error::Unusable(format!(
                "the module {} does not start: {error}",
                path.display()
            ))
        };
        let is_ours = initialize(&module).map_err(does_not_start)?;
        let look = || {
            let found = find(&module, settings);
            // Some modules look for tokens when they start, and miss one that another process changes just then.
            if found.is_err() && is_ours {
                let _ = module.clone().finalize();
                initialize(&module).map_err(does_not_start)?;
            }
            found
        };
        let (slot, _) = patiently(look, |_| is_ours)?;
        let token = Token {
            settings: settings.clone(),
            module,
            world: RwLock::new(World { slot, epoch: 0 }),
            is_down: AtomicBool::new(false),
            is_pin_refused: AtomicBool::new(false),
            has_keys: AtomicBool::new(false),
        };
        let session = || token.session(slot).map_err(Error::from);
        close(patiently(session, is_failure)?);
        Ok(token)
    }

    pub(super) fn state(&self) -> State {
        if self.is_down.load(Ordering::Relaxed) {
            State::Down
        } else {
            State::Up
        }
    }

    /// Leave to call the module, for as long as the answer lives.
    pub(super) fn enter(&self) -> Result<RwLockReadGuard<'_, World>, Error> {
        if self.is_down.load(Ordering::Acquire) {
            return Err(Error::Device("it is being brought back".to_owned()));
        }
        Ok(self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session, logged in.
    pub(super) fn session(&self, slot: Slot) -> Result<Session, Failure> {
        let session = self.module.open_rw_session_no_drop(slot)?;
        match self.log_in(&session) {
            Ok(()) => Ok(session),
            Err(error) => {
                close(session);
                Err(error)
            }
        }
    }

    fn log_in(&self, session: &Session) -> Result<(), Failure> {
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(());
        }
        if self.is_pin_refused.load(Ordering::Acquire) {
            let refused = "the PIN was refused; not tried again".to_owned();
            return Err(Error::Unusable(refused).into());
        }
        // Read each time, so that it is in memory for no longer than the login takes.
        let pin = read_pin(&self.settings.pin_file)?;
        match session.login_with_raw(UserType::User, &pin) {
            Ok(()) => Ok(()),
            // Another lane was faster.
            Err(error) if error::is(&error, RvError::UserAlreadyLoggedIn) => Ok(()),
            Err(error) => match error::pin_refusal(&error) {
                None => Err(error.into()),
                Some(reason) => {
                    self.is_pin_refused.store(true, Ordering::Release);
                    Err(Error::Unusable(format!(
                        "PIN refused; not tried again, because repeated tries lock a token: {reason} \
                         (token \"{}\", PIN file {})",
                        self.settings.token,
                        self.settings.pin_file.display()
                    ))
                    .into())
                }
            },
        }
    }

    /// What it is and what it can do, found out by trying.
    pub(super) fn facts(&self) -> Result<Facts, Error> {
        let world = self.enter()?;
        let about = self.module.get_token_info(world.slot).map_err(failed)?;
        let mechanisms = self.module.get_mechanism_list(world.slot).map_err(failed)?;
        let session = self.session(world.slot)?;
        let (algorithms, gaps) = trial::capabilities(&session, &mechanisms);
        close(session);
        Ok(Facts {
            kind: "pkcs11",
            description: format!(
                "{}, token \"{}\", {} {}, serial {}",
                self.settings.module.display(),
                about.label(),
                about.manufacturer_id(),
                about.model(),
                about.serial_number()
            ),
            location: format!("{} token \"{}\"", about.model(), about.label()),
            algorithms,
            gaps,
        })
    }

    /// Remembers that there is a key of ours: from now on a token that shows none has vanished.
    pub(super) fn saw_key(&self) {
        self.has_keys.store(true, Ordering::Relaxed);
    }

    /// A signature by any key of ours. Some modules go on answering for a token that is no longer there.
    pub(super) fn canary(&self, session: &Session) -> Result<(), Failure> {
        if trial::canary(session)? || !self.has_keys.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::Device("it shows none of the keys that it had".to_owned()).into())
    }

    /// Takes the token out of service and starts to bring it back.
    pub(super) fn trip(self: &Arc<Self>, cause: &str) {
        if self.is_down.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(token = %self.settings.token, cause, "the token failed: out of service");
        let token = Arc::downgrade(self);
        let recovery = thread::Builder::new().name("token-recovery".to_owned()).spawn(move || {
            let (mut pause, longest) = PAUSES;
            let mut is_first = true;
            loop {
                thread::sleep(pause);
                let Some(token) = token.upgrade() else { return };
                match token.revive(is_first) {
                    Ok(()) => {
                        tracing::warn!(token = %token.settings.token, "the token answers again");
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the token is still out of service");
                    }
                }
                is_first = false;
                pause = (pause * 2).min(longest);
            }
        });
        if let Err(error) = recovery {
            // Without a thread nobody would bring it back: let the next failure try.
            tracing::error!(%error, "no thread for the recovery");
            self.is_down.store(false, Ordering::Release);
        }
    }

    /// Tries the token; from the second time on after starting the module afresh.
    fn revive(&self, as_it_is: bool) -> Result<(), Error> {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        if !as_it_is {
            // Some modules forget all sessions at their peer's restart, and only this makes them notice.
            let _ = self.module.clone().finalize();
            initialize(&self.module).map_err(failed)?;
            world.slot = find(&self.module, &self.settings)?.0;
        }
        world.epoch += 1;
        let session = self.session(world.slot)?;
        let tried = self.canary(&session);
        close(session);
        tried?;
        self.is_down.store(false, Ordering::Release);
        Ok(())
    }
}

/// Ends a session. One that the module no longer knows is ended already.
pub(super) fn close(session: Session) {
    let _ = session.close();
}

/// Any failed call.
// By value, because that is how `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn failed(error: ModuleError) -> Error {
    Error::Device(error.to_string())
}

/// Starts the module; `false` where somebody in this process did so before.
fn initialize(module: &Pkcs11) -> Result<bool, ModuleError> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(error) if error::is(&error, RvError::CryptokiAlreadyInitialized) => Ok(false),
        other => other.map(|()| true),
    }
}

/// The slot that holds the token.
fn find(module: &Pkcs11, settings: &Settings) -> Result<(Slot, TokenInfo), Error> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        // A token that cannot describe itself is not ours.
        let Ok(token) = module.get_token_info(slot) else {
            continue;
        };
        seen.push(format!(
            "\"{}\" (serial {})",
            token.label(),
            token.serial_number()
        ));
        let has_serial = settings
            .serial
            .as_ref()
            .is_none_or(|serial| serial == token.serial_number());
        if token.label() == settings.token && has_serial {
            found.push((slot, token));
        }
    }
    let wanted = match &settings.serial {
        None => format!("\"{}\"", settings.token),
        Some(serial) => format!("\"{}\" with serial {serial}", settings.token),
    };
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if seen.is_empty() => Err(Error::Unusable(format!(
            "no token {wanted}: {} shows no initialised token at all",
            settings.module.display()
        ))),
        0 => Err(Error::Unusable(format!(
            "no token {wanted}: {} shows {}",
            settings.module.display(),
            seen.join(", ")
        ))),
        _ => Err(Error::Unusable(format!(
            "several tokens {wanted}: set `serial` to one of {}",
            seen.join(", ")
        ))),
    }
}

fn read_pin(path: &Path) -> Result<RawAuthPin, Error> {
    let cannot =
        |error: std::io::Error| Error::Unusable(format!("cannot read {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(Error::Unusable(format!(
            "{path} is open to other users (mode {:03o}): run `chmod 600 {path}`",
            mode & 0o777
        )));
    }
    // Room for all of it, so that growing leaves no copies behind.
    let mut pin = Vec::with_capacity(1024);
    if let Err(error) = file.take(LONGEST_PIN).read_to_end(&mut pin) {
        pin.zeroize();
        return Err(cannot(error));
    }
    while pin
        .last()
        .is_some_and(|octet| matches!(octet, b'\n' | b'\r'))
    {
        pin.pop();
    }
    if pin.is_empty() {
        return Err(Error::Unusable(format!("{} is empty", path.display())));
    }
    Ok(RawAuthPin::new(Box::new(pin)))
}
