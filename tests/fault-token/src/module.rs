//! The functions of the module (PKCS #11 3.1 §5): each asks what is to happen, and then calls the same function of the
//! real module. What no wrapper stands before goes straight there.
//!
//! Unsafe, because that is what calling a module with its caller's pointers is: all of them are handed on as they came,
//! and read or written only where the real module has just said that it filled them.
#![allow(unsafe_code)]

use std::path::PathBuf;
use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::state::{Kind, State, Verdict};
use crate::{ENVIRONMENT, MODULE};

struct Front {
    state: State,
    real: CK_FUNCTION_LIST,
    list: CK_FUNCTION_LIST,
}

/// One for the process, as a module is.
static FRONT: OnceLock<Option<Front>> = OnceLock::new();

fn front() -> Option<&'static Front> {
    FRONT.get_or_init(open).as_ref()
}

fn open() -> Option<Front> {
    let folder = PathBuf::from(std::env::var_os(ENVIRONMENT)?);
    let state = State::open(&folder).ok()?;
    let path = std::fs::read_to_string(folder.join(MODULE)).ok()?;
    // SAFETY: the file that the test names is a PKCS#11 module; loading it runs what modules run when they are loaded.
    let library = unsafe { Pkcs11::new(path) }.ok()?;
    let mut real = std::ptr::null_mut();
    // SAFETY: §5.2: the function needs no C_Initialize, and `real` is a place for a pointer.
    if unsafe { library.C_GetFunctionList(&raw mut real) } != CKR_OK || real.is_null() {
        return None;
    }
    // SAFETY: §5.4.4: it points to the module's list, which lives as long as the module.
    let real = unsafe { *real };
    // Never unloaded, like the modules that a process opens itself.
    std::mem::forget(library);
    let list = wrapped(real);
    Some(Front { state, real, list })
}

/// The way in (PKCS #11 3.1 §5.4.4).
///
/// # Safety
/// `list` must be null or a place for a pointer.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(front) = front() else {
        return CKR_GENERAL_ERROR;
    };
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: by the contract above. Callers only read the list.
    unsafe { *list = (&raw const front.list).cast_mut() };
    CKR_OK
}

/// What an argument means for us: handles are translated, the rest is handed on.
macro_rules! admitted {
    ($front:ident, [Session] $argument:ident) => {
        match $front.state.real(Kind::Session, $argument) {
            Ok(handle) => handle,
            Err(value) => return value,
        }
    };
    ($front:ident, [Object] $argument:ident) => {
        match $front.state.real(Kind::Object, $argument) {
            Ok(handle) => handle,
            Err(value) => return value,
        }
    };
    ($front:ident, [$($type:tt)+] $argument:ident) => {
        $argument
    };
}

/// What the real module has put out and we change: handles that are given, bits that are flipped.
macro_rules! put_out {
    ($front:ident, $flips:ident, [NewSession] $argument:ident) => {
        given($front, Kind::Session, $argument, 1);
    };
    ($front:ident, $flips:ident, [NewObject] $argument:ident) => {
        given($front, Kind::Object, $argument, 1);
    };
    ($front:ident, $flips:ident, [$($type:tt)+] $argument:ident) => {};
}

macro_rules! type_of {
    ([Session]) => { CK_SESSION_HANDLE };
    ([Object]) => { CK_OBJECT_HANDLE };
    ([NewSession]) => { *mut CK_SESSION_HANDLE };
    ([NewObject]) => { *mut CK_OBJECT_HANDLE };
    ([$($type:tt)+]) => { $($type)+ };
}

/// The wrappers. After `then` stands what is to be done when the real function has succeeded, after `refused` what is to be
/// done where it is not called.
macro_rules! functions {
    ($(
        $name:ident($($argument:ident: $kind:tt),*)
        $(then |$front:ident, $flips:ident| $then:block)?
        $(refused |$before:ident, $failure:ident| $refused:block)?;
    )*) => {
        /// The functions that a fault can be about.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        #[derive(Clone, Copy)]
        enum Function { $($name),* }

        $(
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name($($argument: type_of!($kind)),*) -> CK_RV {
                let Some(front) = front() else {
                    return CKR_GENERAL_ERROR;
                };
                let verdict = front.state.enter(Function::$name as usize);
                if let Verdict::Refuse(value) = verdict {
                    $(
                        let ($before, $failure) = (front, value);
                        $refused
                    )?
                    return value;
                }
                $(let $argument = admitted!(front, $kind $argument);)*
                let Some(real) = front.real.$name else {
                    return CKR_FUNCTION_NOT_SUPPORTED;
                };
                // SAFETY: the caller's arguments, for the function that they were made for.
                let value = unsafe { real($($argument),*) };
                let value = logged_in(front, Function::$name, value);
                if value == CKR_OK {
                    $(put_out!(front, flips, $kind $argument);)*
                    $(
                        let ($front, $flips) = (front, verdict == Verdict::CallAndFlip);
                        $then
                    )?
                }
                match verdict {
                    Verdict::CallAndFail(failure) => failure,
                    _ => value,
                }
            }
        )*

        fn wrapped(mut list: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            list.C_GetFunctionList = Some(C_GetFunctionList);
            $(list.$name = Some($name);)*
            list
        }
    };
}

functions! {
    C_Initialize(arguments: [*mut std::ffi::c_void]);
    C_Finalize(reserved: [*mut std::ffi::c_void]);
    C_GetInfo(info: [*mut CK_INFO]);
    C_GetSlotList(present: [CK_BBOOL], slots: [*mut CK_SLOT_ID], count: [*mut CK_ULONG]);
    C_GetSlotInfo(slot: [CK_SLOT_ID], info: [*mut CK_SLOT_INFO]);
    C_GetTokenInfo(slot: [CK_SLOT_ID], info: [*mut CK_TOKEN_INFO])
        then |_front, flips| {
            if flips && !info.is_null() {
                // SAFETY: the module has just filled it.
                unsafe { (*info).flags ^= CKF_USER_PIN_FINAL_TRY };
            }
        };
    C_GetMechanismList(slot: [CK_SLOT_ID], mechanisms: [*mut CK_MECHANISM_TYPE], count: [*mut CK_ULONG]);
    C_GetMechanismInfo(slot: [CK_SLOT_ID], mechanism: [CK_MECHANISM_TYPE], info: [*mut CK_MECHANISM_INFO]);
    C_OpenSession(
        slot: [CK_SLOT_ID],
        flags: [CK_FLAGS],
        application: [*mut std::ffi::c_void],
        notify: [CK_NOTIFY],
        session: [NewSession]
    );
    C_CloseSession(session: [Session]);
    C_CloseAllSessions(slot: [CK_SLOT_ID]);
    C_GetSessionInfo(session: [Session], info: [*mut CK_SESSION_INFO]) then |front, _flips| {
        if front.state.is_login_lost() && !info.is_null() {
            // SAFETY: the real module has just filled it.
            unsafe { (*info).state = CKS_RW_PUBLIC_SESSION };
        }
    };
    C_Logout(session: [Session]);
    C_CreateObject(session: [Session], template: [*mut CK_ATTRIBUTE], count: [CK_ULONG], object: [NewObject]);
    C_CopyObject(
        session: [Session],
        object: [Object],
        template: [*mut CK_ATTRIBUTE],
        count: [CK_ULONG],
        copy: [NewObject]
    );
    C_DestroyObject(session: [Session], object: [Object]);
    C_GetAttributeValue(session: [Session], object: [Object], template: [*mut CK_ATTRIBUTE], count: [CK_ULONG]);
    C_SetAttributeValue(session: [Session], object: [Object], template: [*mut CK_ATTRIBUTE], count: [CK_ULONG]);
    C_FindObjectsInit(session: [Session], template: [*mut CK_ATTRIBUTE], count: [CK_ULONG]);
    C_FindObjects(
        session: [Session],
        objects: [*mut CK_OBJECT_HANDLE],
        most: [CK_ULONG],
        count: [*mut CK_ULONG]
    ) then |front, _flips| {
        if !count.is_null() {
            // SAFETY: the real module has just written how many handles it has written.
            given(front, Kind::Object, objects, unsafe { *count });
        }
    };
    C_FindObjectsFinal(session: [Session]);
    C_EncryptInit(session: [Session], mechanism: [*mut CK_MECHANISM], key: [Object]);
    C_Encrypt(
        session: [Session],
        plaintext: [*mut CK_BYTE],
        length: [CK_ULONG],
        output: [*mut CK_BYTE],
        size: [*mut CK_ULONG]
    ) then |_front, flips| { flip(flips, output, size); }
    refused |front, value| { end(front, front.real.C_Encrypt, value, (session, plaintext, length)); };
    C_DecryptInit(session: [Session], mechanism: [*mut CK_MECHANISM], key: [Object]);
    C_Decrypt(
        session: [Session],
        ciphertext: [*mut CK_BYTE],
        length: [CK_ULONG],
        output: [*mut CK_BYTE],
        size: [*mut CK_ULONG]
    ) then |_front, flips| { flip(flips, output, size); }
    refused |front, value| { end(front, front.real.C_Decrypt, value, (session, ciphertext, length)); };
    C_SignInit(session: [Session], mechanism: [*mut CK_MECHANISM], key: [Object]);
    C_Sign(
        session: [Session],
        input: [*mut CK_BYTE],
        length: [CK_ULONG],
        output: [*mut CK_BYTE],
        size: [*mut CK_ULONG]
    ) then |_front, flips| { flip(flips, output, size); }
    refused |front, value| { end(front, front.real.C_Sign, value, (session, input, length)); };
    C_VerifyInit(session: [Session], mechanism: [*mut CK_MECHANISM], key: [Object]);
    C_Verify(
        session: [Session],
        input: [*mut CK_BYTE],
        length: [CK_ULONG],
        signature: [*mut CK_BYTE],
        size: [CK_ULONG]
    );
    C_GenerateKey(
        session: [Session],
        mechanism: [*mut CK_MECHANISM],
        template: [*mut CK_ATTRIBUTE],
        count: [CK_ULONG],
        key: [NewObject]
    );
    C_GenerateKeyPair(
        session: [Session],
        mechanism: [*mut CK_MECHANISM],
        public: [*mut CK_ATTRIBUTE],
        publics: [CK_ULONG],
        private: [*mut CK_ATTRIBUTE],
        privates: [CK_ULONG],
        public_key: [NewObject],
        private_key: [NewObject]
    );
    C_WrapKey(
        session: [Session],
        mechanism: [*mut CK_MECHANISM],
        by: [Object],
        key: [Object],
        output: [*mut CK_BYTE],
        size: [*mut CK_ULONG]
    );
    C_UnwrapKey(
        session: [Session],
        mechanism: [*mut CK_MECHANISM],
        by: [Object],
        wrapped: [*mut CK_BYTE],
        length: [CK_ULONG],
        template: [*mut CK_ATTRIBUTE],
        count: [CK_ULONG],
        key: [NewObject]
    );
    C_DeriveKey(
        session: [Session],
        mechanism: [*mut CK_MECHANISM],
        base: [Object],
        template: [*mut CK_ATTRIBUTE],
        count: [CK_ULONG],
        key: [NewObject]
    );
    C_GenerateRandom(session: [Session], output: [*mut CK_BYTE], length: [CK_ULONG]);
    C_Login(session: [Session], user: [CK_USER_TYPE], pin: [*mut CK_UTF8CHAR], length: [CK_ULONG]);
}

/// A login that was lost for the caller alone is there again for the caller alone.
fn logged_in(front: &Front, function: Function, value: CK_RV) -> CK_RV {
    let is_login = function as usize == Function::C_Login as usize;
    if is_login && [CKR_OK, CKR_USER_ALREADY_LOGGED_IN].contains(&value) && front.state.log_in() {
        return CKR_OK;
    }
    value
}

/// A function that has failed has ended its operation (§5.13.2), unless it only wanted more room: the real one must not
/// go on with it. All three such functions have the type of C_Sign.
fn end(
    front: &Front,
    function: CK_C_Sign,
    failure: CK_RV,
    (session, input, length): (CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG),
) {
    let session = front.state.real(Kind::Session, session);
    if let (Some(function), Ok(session)) = (function, session)
        && failure != CKR_BUFFER_TOO_SMALL
    {
        let mut output = vec![0; usize::try_from(length).unwrap_or_default() + 4096];
        let mut size = output.len() as CK_ULONG;
        // SAFETY: the caller's arguments, but that the output goes where nobody sees it. What it says is of no interest.
        unsafe { function(session, input, length, output.as_mut_ptr(), &raw mut size) };
    }
}

/// Gives out handles that the real module has written.
fn given(front: &Front, kind: Kind, handles: *mut CK_ULONG, count: CK_ULONG) {
    if handles.is_null() {
        return;
    }
    for at in 0..usize::try_from(count).unwrap_or_default() {
        // SAFETY: the real module has just written so many.
        unsafe { *handles.add(at) = front.state.given(kind, *handles.add(at)) };
    }
}

/// Flips the last bit of an output that the real module has written, unless it was only asked for its length.
fn flip(flips: bool, output: *mut CK_BYTE, size: *mut CK_ULONG) {
    if !flips || output.is_null() || size.is_null() {
        return;
    }
    // SAFETY: the real module has just written so many octets.
    unsafe {
        if let Some(last) = usize::try_from(*size)
            .ok()
            .and_then(|size| size.checked_sub(1))
        {
            *output.add(last) ^= 1;
        }
    }
}
