//! kryoptic as a PKCS#11 module: the library has everything but the one symbol that a module is entered by (PKCS #11 3.1
//! §5.4.4).

use kryoptic_lib::fns::general::fn_get_function_list;
use kryoptic_lib::pkcs11::{CK_FUNCTION_LIST_PTR_PTR, CK_RV};

/// The way in.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    fn_get_function_list(list)
}
