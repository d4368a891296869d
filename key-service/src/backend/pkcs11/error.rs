//! What a module's return values mean for us (PKCS #11 3.1 §5.1).

use cryptoki::error::{Error as ModuleError, RvError};

use crate::backend::Error;

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A session, login or handle is no longer valid: open a new session, find the key again, try once more.
    Session,
    /// The device is in trouble, or says so: try once more in a new session, then take it out of service.
    Device,
    /// It will not do this, and trying again will not change that.
    Refused,
}

/// Sorts a failed call.
pub(super) fn class(error: &ModuleError) -> Class {
    let ModuleError::Pkcs11(value, _) = error else {
        return Class::Refused;
    };
    match value {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::UserNotLoggedIn
        | RvError::OperationActive
        | RvError::OperationNotInitialized => Class::Session,
        RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized
        | RvError::LibraryLoadFailed
        | RvError::SessionCount
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::HostMemory
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => Class::Device,
        _ => Class::Refused,
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The module said so: another attempt may be worth it.
    Module(ModuleError),
    /// Nothing that another attempt would change.
    Final(Error),
}

impl From<ModuleError> for Failure {
    fn from(error: ModuleError) -> Self {
        Failure::Module(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Module(error) => Error::Device(error.to_string()),
            Failure::Final(error) => error,
        }
    }
}

impl Failure {
    /// Of a decryption: nothing is said about it, unless it cannot be the ciphertext's fault.
    pub(super) fn of_decryption(error: ModuleError) -> Failure {
        if is_not_the_ciphertext(&error) {
            Failure::Module(error)
        } else {
            Failure::Final(Error::Undecryptable)
        }
    }
}

/// Whether a failed decryption can have another reason than its ciphertext. Soft tokens answer a bad one with
/// CKR_GENERAL_ERROR or CKR_DEVICE_ERROR, so those say nothing here.
fn is_not_the_ciphertext(error: &ModuleError) -> bool {
    let ModuleError::Pkcs11(value, _) = error else {
        return true;
    };
    class(error) == Class::Session
        || matches!(
            value,
            RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::CryptokiNotInitialized
                | RvError::HostMemory
                | RvError::MechanismInvalid
                | RvError::KeyFunctionNotPermitted
        )
}

/// Whether it may be only that another process changes the token at this moment.
pub(super) fn is_fleeting(failure: &Failure) -> bool {
    [
        RvError::GeneralError,
        RvError::FunctionFailed,
        RvError::ObjectHandleInvalid,
        RvError::KeyHandleInvalid,
    ]
    .into_iter()
    .any(|value| matches!(failure, Failure::Module(error) if is(error, value)))
}

/// Whether the session is gone already, so that nothing is left to close.
pub(super) fn is_session_gone(error: &ModuleError) -> bool {
    [
        RvError::SessionHandleInvalid,
        RvError::SessionClosed,
        RvError::CryptokiNotInitialized,
    ]
    .into_iter()
    .any(|value| is(error, value))
}

/// Whether the module refused the PIN, with what to say about it.
pub(super) fn pin_refusal(error: &ModuleError) -> Option<&'static str> {
    let ModuleError::Pkcs11(value, _) = error else {
        return None;
    };
    match value {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
            Some("the PIN is wrong")
        }
        RvError::PinLocked => Some("the PIN is locked"),
        RvError::PinExpired => Some("the PIN has expired"),
        RvError::UserPinNotInitialized => Some("the token has no user PIN yet"),
        _ => None,
    }
}

/// Whether a call failed with this return value.
pub(super) fn is(error: &ModuleError, wanted: RvError) -> bool {
    matches!(error, ModuleError::Pkcs11(value, _) if *value == wanted)
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn return_values_are_sorted() {
        for (value, expected, is_not_the_ciphertext_too) in [
            (RvError::SessionHandleInvalid, Class::Session, true),
            (RvError::KeyHandleInvalid, Class::Session, true),
            (RvError::UserNotLoggedIn, Class::Session, true),
            (RvError::DeviceError, Class::Device, false),
            (RvError::GeneralError, Class::Device, false),
            (RvError::DeviceRemoved, Class::Device, true),
            (RvError::CryptokiNotInitialized, Class::Device, true),
            (RvError::EncryptedDataInvalid, Class::Refused, false),
            (RvError::KeyFunctionNotPermitted, Class::Refused, true),
        ] {
            let error = ModuleError::Pkcs11(value, Function::Sign);
            assert_eq!(class(&error), expected, "{value:?}");
            assert_eq!(
                is_not_the_ciphertext(&error),
                is_not_the_ciphertext_too,
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_refused_pin_is_told_from_a_failure() {
        let error = |value| ModuleError::Pkcs11(value, Function::Login);
        assert!(pin_refusal(&error(RvError::PinIncorrect)).is_some());
        assert!(pin_refusal(&error(RvError::DeviceError)).is_none());
    }
}
