//! The token: found by its label, and logged in to once.
//!
//! Every call into the module happens between [`Token::enter`] and the drop of what it answers, so that a recovery
//! can wait until nobody is inside. Sessions are never closed by a drop: after a re-initialisation the module gives
//! the same numbers to new sessions, and a late close would end one of those.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as ModuleError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use tokio::sync::watch;

use super::canary::Canaries;
use super::copy::Copies;
use super::error::Failure;
use super::open::Open;
use super::patience::{is_failure, patiently};
use super::watchdog::Pulse;
use super::{ELSEWHERE, Settings, announce, error, trial};
use crate::backend::secret::Source;
use crate::backend::{Error, Facts, State};

/// A token that was found and logged in to.
pub(super) struct Token {
    pub(super) settings: Settings,
    pin: Source,
    pub(super) copies: Copies,
    pub(super) canaries: Canaries,
    /// Of the thread that brings it back.
    pub(super) recovery: Arc<Pulse>,
    pub(super) module: Pkcs11,
    pub(super) world: RwLock<World>,
    state: watch::Sender<State>,
    /// What every call asks, without the lock of `state`.
    is_up: AtomicBool,
    /// Stays open, because a token logs everybody out with the last session. Held by whoever logs in.
    anchor: Mutex<Option<Session>>,
    /// Whether a key of ours was ever seen in it.
    has_keys: AtomicBool,
    /// `None`: what one process writes, all others see.
    pub(super) announcements: Option<announce::Due>,
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
        let module = load(path)?;
        let does_not_start = |error: ModuleError| {
            Error::Unusable(format!(
                "the module {} does not start: {error}; {ELSEWHERE}",
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
        let (slot, about) = patiently(look, |_| is_ours)?;
        let token = Token {
            settings: settings.clone(),
            pin: settings.pin()?,
            copies: Copies::new(settings.session_copies),
            canaries: Canaries::default(),
            recovery: Arc::default(),
            module,
            world: RwLock::new(World { slot, epoch: 0 }),
            state: watch::Sender::new(State::Up),
            is_up: AtomicBool::new(true),
            anchor: Mutex::new(None),
            has_keys: AtomicBool::new(false),
            announcements: announce::is_needed(about.model()).then(announce::Due::default),
        };
        let session = || token.session(slot).map_err(Error::from);
        token.anchor(Some(patiently(session, is_failure)?));
        Ok(token)
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Says when its state is another.
    pub(super) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Goes over to a state; `false` where that is no way from the one before. From a refused PIN and from a call that
    /// does not end only a new process leads back.
    pub(super) fn becomes(&self, next: State) -> bool {
        self.state.send_if_modified(|state| {
            let may = match (*state, next) {
                (State::Up, _) | (_, State::Hung) => *state != next,
                (State::Down, State::Up | State::LockedOut) => true,
                _ => false,
            };
            if may {
                *state = next;
                self.is_up.store(next == State::Up, Ordering::Release);
            }
            may
        })
    }

    /// What those are told who come while it is not up.
    pub(super) fn refusal(&self) -> Error {
        match self.state() {
            State::LockedOut => Error::Unusable(
                "the PIN was refused, or has one try left; it is not tried before a restart, because repeated tries lock a token"
                    .to_owned(),
            ),
            State::Hung => Error::Device("a call into the module does not end".to_owned()),
            State::Up | State::Down => Error::Device("it is being brought back".to_owned()),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Leave to call the module, for as long as the answer lives. Nobody waits for a recovery.
    pub(super) fn enter(&self) -> Result<RwLockReadGuard<'_, World>, Error> {
        let world = match self.world.try_read() {
            Ok(world) => world,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(self.refusal()),
        };
        if self.is_up() {
            Ok(world)
        } else {
            Err(self.refusal())
        }
    }

    /// Replaces the session that stays open. The one before is not closed: see above.
    pub(super) fn anchor(&self, session: Option<Session>) {
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// A session, logged in.
    pub(super) fn session(&self, slot: Slot) -> Result<Session, Failure> {
        let session = self.module.open_rw_session_no_drop(slot)?;
        match self.log_in(slot, &session) {
            Ok(()) => Ok(session),
            Err(error) => {
                close(session);
                Err(error)
            }
        }
    }

    fn log_in(&self, slot: Slot, session: &Session) -> Result<(), Failure> {
        let is_in = || -> Result<bool, Failure> {
            let state = session.get_session_info()?.session_state();
            Ok(matches!(state, SessionState::RwUser | SessionState::RoUser))
        };
        if is_in()? {
            return Ok(());
        }
        // One at a time: several lanes would try a wrong PIN several times.
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if is_in()? {
            return Ok(());
        }
        if self.state() == State::LockedOut {
            return Err(self.refusal().into());
        }
        // While a session is open somebody here is logged in, with this PIN.
        if anchor.is_none() {
            self.spares_the_last_try(slot)?;
        }
        let pin = RawAuthPin::new(Box::new(std::mem::take(&mut *self.pin.read()?)));
        match session.login_with_raw(UserType::User, &pin) {
            Ok(()) => Ok(()),
            // The state that some modules tell is out of date.
            Err(error) if error::is(&error, RvError::UserAlreadyLoggedIn) => Ok(()),
            Err(error) => match error::pin_refusal(&error) {
                None => Err(error.into()),
                Some(reason) => {
                    self.becomes(State::LockedOut);
                    let token = &self.settings.token;
                    tracing::error!(
                        token,
                        reason,
                        "the PIN was refused: out of service until a restart, because repeated tries lock a token"
                    );
                    Err(Error::Unusable(format!(
                        "PIN refused; not tried again, because repeated tries lock a token: {reason} \
                         (token \"{token}\", PIN from {})",
                        self.pin
                    ))
                    .into())
                }
            },
        }
    }

    /// One try a start is one too many where a supervisor starts us again and again: the last try is a person's.
    fn spares_the_last_try(&self, slot: Slot) -> Result<(), Failure> {
        let about = self.module.get_token_info(slot)?;
        if !about.user_pin_final_try() {
            return Ok(());
        }
        self.becomes(State::LockedOut);
        let token = &self.settings.token;
        tracing::error!(
            token,
            "no login is tried: the token says that one more wrong PIN locks it. Log in once by other means, with the right one, and start again"
        );
        Err(Error::Unusable(format!(
            "no login is tried: the token says that one more wrong PIN locks it; log in once by other means, with the \
             right one (token \"{token}\", PIN from {})",
            self.pin
        ))
        .into())
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

    /// What is said of a token without keys of ours, where there were some.
    pub(super) const VANISHED: &'static str = "it shows none of the keys that it had";

    /// Whether a key of ours is to be expected.
    pub(super) fn had_keys(&self) -> bool {
        self.has_keys.load(Ordering::Relaxed)
    }

    /// Remembers whether there is a key of ours: a token that shows none any more has vanished.
    pub(super) fn shows_keys(&self, any: bool) {
        self.has_keys.store(any, Ordering::Relaxed);
    }

    /// A signature by a key of ours.
    pub(super) fn canary(&self, open: &mut Open) -> Result<(), Failure> {
        if self.canaries.are_known() {
            return self.canaries.one(open, &self.copies);
        }
        self.sign_with_any(open)
    }

    /// A signature by each key that signs.
    pub(super) fn sign_with_each(&self, open: &Open) -> Result<(), Failure> {
        if self.canaries.are_known() {
            return self.canaries.each(open);
        }
        self.sign_with_any(open)
    }

    /// Before the keyring has told which keys sign.
    fn sign_with_any(&self, open: &Open) -> Result<(), Failure> {
        if trial::canary(&open.session)? || !self.had_keys() {
            return Ok(());
        }
        Err(Error::Device(Token::VANISHED.to_owned()).into())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let anchor = self
            .anchor
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // Of the present initialisation always; and while it is up, that is ours.
        if let Some(session) = anchor.take()
            && *self.state.borrow() == State::Up
        {
            close(session);
        }
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

/// Loads a module, which is not started yet.
pub(super) fn load(path: &Path) -> Result<Pkcs11, Error> {
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
    Pkcs11::new(path).map_err(|error| {
        Error::Unusable(format!(
            "cannot load the module {}: {error}",
            path.display()
        ))
    })
}

/// Starts the module; `false` where somebody in this process did so before.
pub(super) fn initialize(module: &Pkcs11) -> Result<bool, ModuleError> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(error) if error::is(&error, RvError::CryptokiAlreadyInitialized) => Ok(false),
        other => other.map(|()| true),
    }
}

/// The slot that holds the token.
pub(super) fn find(module: &Pkcs11, settings: &Settings) -> Result<(Slot, TokenInfo), Error> {
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
            "no token {wanted}: {} shows no initialised token at all; {ELSEWHERE}",
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
