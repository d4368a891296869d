//! The return values that PKCS #11 3.1 §5 names for the functions that the key-service calls, and what becomes of a call
//! that meets one of them once.

/// What becomes of a request when one call fails in this way, and the next one does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Once {
    /// The caller sees nothing of it: a new session, the key found again.
    Hidden,
    /// The caller may be told UNAVAILABLE.
    Told,
}

use Once::{Hidden, Told};

/// A return value: its number, its name without CKR_, and what one of it does.
pub(super) type Row = (u64, &'static str, Once);

/// Of every function that uses the device (§5.1.1 to §5.1.3).
pub(super) const DEVICE: &[Row] = &[
    (0x02, "HOST_MEMORY", Told),
    (0x05, "GENERAL_ERROR", Told),
    (0x06, "FUNCTION_FAILED", Told),
    (0x30, "DEVICE_ERROR", Told),
    (0x31, "DEVICE_MEMORY", Told),
    (0x32, "DEVICE_REMOVED", Told),
    (0xe0, "TOKEN_NOT_PRESENT", Told),
    (0x190, "CRYPTOKI_NOT_INITIALIZED", Told),
    // A number that nobody has given a name, and one of a vendor's own.
    (0x7000_0000, "unknown", Told),
    (0x8000_0001, "VENDOR_DEFINED", Told),
];

/// Of every function that is given a session.
pub(super) const SESSION: &[Row] = &[
    (0xb0, "SESSION_CLOSED", Hidden),
    (0xb3, "SESSION_HANDLE_INVALID", Hidden),
    (0x101, "USER_NOT_LOGGED_IN", Hidden),
];

/// Of C_SignInit beside those (§5.13.1).
pub(super) const SIGN_INIT: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x50, "FUNCTION_CANCELED", Told),
    (0x60, "KEY_HANDLE_INVALID", Hidden),
    (0x62, "KEY_SIZE_RANGE", Told),
    (0x63, "KEY_TYPE_INCONSISTENT", Told),
    (0x68, "KEY_FUNCTION_NOT_PERMITTED", Told),
    (0x70, "MECHANISM_INVALID", Told),
    (0x71, "MECHANISM_PARAM_INVALID", Told),
    // Some modules say this of a key that is gone.
    (0x82, "OBJECT_HANDLE_INVALID", Hidden),
    (0x90, "OPERATION_ACTIVE", Hidden),
    (0xa3, "PIN_EXPIRED", Told),
    (0x202, "OPERATION_CANCEL_FAILED", Told),
];

/// Of C_Sign beside those (§5.13.2).
pub(super) const SIGN: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x20, "DATA_INVALID", Told),
    (0x21, "DATA_LEN_RANGE", Told),
    (0x50, "FUNCTION_CANCELED", Told),
    (0x91, "OPERATION_NOT_INITIALIZED", Hidden),
    (0x150, "BUFFER_TOO_SMALL", Told),
    (0x200, "FUNCTION_REJECTED", Told),
    (0x201, "TOKEN_RESOURCE_EXCEEDED", Told),
];

/// Of C_DecryptInit and C_Decrypt beside those (§5.10.1, §5.10.2) that say something of the ciphertext.
pub(super) const CIPHERTEXT: &[Row] = &[
    (0x20, "DATA_INVALID", Told),
    (0x21, "DATA_LEN_RANGE", Told),
    (0x40, "ENCRYPTED_DATA_INVALID", Told),
    (0x41, "ENCRYPTED_DATA_LEN_RANGE", Told),
    (0x42, "AEAD_DECRYPT_FAILED", Told),
    (0x71, "MECHANISM_PARAM_INVALID", Told),
];

/// Of C_DeriveKey beside those (§5.18.5).
pub(super) const DERIVE: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x10, "ATTRIBUTE_READ_ONLY", Told),
    (0x12, "ATTRIBUTE_TYPE_INVALID", Told),
    (0x13, "ATTRIBUTE_VALUE_INVALID", Told),
    (0x60, "KEY_HANDLE_INVALID", Hidden),
    (0x63, "KEY_TYPE_INCONSISTENT", Told),
    (0x70, "MECHANISM_INVALID", Told),
    (0x71, "MECHANISM_PARAM_INVALID", Told),
    (0x90, "OPERATION_ACTIVE", Hidden),
    (0xd0, "TEMPLATE_INCOMPLETE", Told),
    (0xd1, "TEMPLATE_INCONSISTENT", Told),
    (0xe2, "TOKEN_WRITE_PROTECTED", Told),
    (0x130, "DOMAIN_PARAMS_INVALID", Told),
];

/// Of C_OpenSession beside those of the device (§5.6.1).
pub(super) const OPEN: &[Row] = &[
    (0x03, "SLOT_ID_INVALID", Told),
    (0x07, "ARGUMENTS_BAD", Told),
    (0xb1, "SESSION_COUNT", Told),
    (0xb4, "SESSION_PARALLEL_NOT_SUPPORTED", Told),
    (0xb8, "SESSION_READ_WRITE_SO_EXISTS", Told),
    (0xe1, "TOKEN_NOT_RECOGNIZED", Told),
    (0xe2, "TOKEN_WRITE_PROTECTED", Told),
];

/// Of C_FindObjectsInit, C_FindObjects and C_FindObjectsFinal beside those of the device (§5.7.7 to §5.7.9).
pub(super) const FIND: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x12, "ATTRIBUTE_TYPE_INVALID", Told),
    (0x13, "ATTRIBUTE_VALUE_INVALID", Told),
    (0x90, "OPERATION_ACTIVE", Told),
    (0x91, "OPERATION_NOT_INITIALIZED", Told),
    (0xb3, "SESSION_HANDLE_INVALID", Told),
];

/// Of C_Login (§5.6.8), but for those about the PIN.
pub(super) const LOGIN: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x50, "FUNCTION_CANCELED", Told),
    (0x90, "OPERATION_ACTIVE", Told),
    (0xb7, "SESSION_READ_ONLY_EXISTS", Told),
    // Which is not so: the next call says that nobody is logged in.
    (0x100, "USER_ALREADY_LOGGED_IN", Told),
    (0x103, "USER_TYPE_INVALID", Told),
    (0x104, "USER_ANOTHER_ALREADY_LOGGED_IN", Told),
    (0x105, "USER_TOO_MANY_TYPES", Told),
];

/// Of C_Login about the PIN: three tries lock most tokens, so there is one.
pub(super) const PIN: &[(u64, &str)] = &[
    (0xa0, "PIN_INCORRECT"),
    (0xa1, "PIN_INVALID"),
    (0xa2, "PIN_LEN_RANGE"),
    (0xa3, "PIN_EXPIRED"),
    (0xa4, "PIN_LOCKED"),
    (0x102, "USER_PIN_NOT_INITIALIZED"),
];

/// Of C_GenerateKeyPair beside those of the device and of sessions (§5.18.2).
pub(super) const GENERATE: &[Row] = &[
    (0x07, "ARGUMENTS_BAD", Told),
    (0x10, "ATTRIBUTE_READ_ONLY", Told),
    (0x12, "ATTRIBUTE_TYPE_INVALID", Told),
    (0x13, "ATTRIBUTE_VALUE_INVALID", Told),
    (0x70, "MECHANISM_INVALID", Told),
    (0x71, "MECHANISM_PARAM_INVALID", Told),
    (0x90, "OPERATION_ACTIVE", Told),
    (0xb5, "SESSION_READ_ONLY", Told),
    (0xd0, "TEMPLATE_INCOMPLETE", Told),
    (0xd1, "TEMPLATE_INCONSISTENT", Told),
    (0xe2, "TOKEN_WRITE_PROTECTED", Told),
    (0x130, "DOMAIN_PARAMS_INVALID", Told),
    (0x140, "CURVE_NOT_SUPPORTED", Told),
];
