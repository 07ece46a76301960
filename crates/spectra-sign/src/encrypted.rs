//! Private keys as cosign encrypts them: JSON with scrypt and the secret box of `NaCl`, in PEM.

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use crypto_secretbox::{KeyInit as _, Nonce, XSalsa20Poly1305, aead::Aead as _};
use scrypt::{Params, scrypt};
use serde::{Deserialize, Serialize};
use spectra_types::Secret;

use crate::KeyError;

/// What cosign writes.
pub(crate) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What it wrote before version 2.
pub(crate) const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// The cost of what is written, as cosign has it: 64 MiB, and a tenth of a second.
const COST: Cost = Cost { n: 65_536, r: 8, p: 1 };
/// No file may ask for more: 256 MiB of memory (128·N·r), whatever `p` is.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;
const MOST_PARALLEL: u32 = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Decrypts; the result is PKCS#8.
pub(crate) fn open(json: &[u8], password: &Secret<String>) -> Result<Secret<Vec<u8>>, KeyError> {
    let sealed: Sealed =
        serde_json::from_slice(json).map_err(|error| KeyError::Encryption(error.to_string()))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        let names = format!("`{}` with `{}`", sealed.kdf.name, sealed.cipher.name);
        return Err(KeyError::Encryption(names));
    }
    let decode = |text: &str| {
        BASE64.decode(text).map_err(|_| KeyError::Encryption("something in it is no base64".to_owned()))
    };
    let nonce: [u8; 24] = decode(&sealed.cipher.nonce)?
        .try_into()
        .map_err(|_| KeyError::Encryption("its nonce has another length than 24".to_owned()))?;
    let cipher = cipher(password, &decode(&sealed.kdf.salt)?, sealed.kdf.params)?;
    cipher
        .decrypt(Nonce::from_slice(&nonce), decode(&sealed.ciphertext)?.as_slice())
        .map(Secret::new)
        .map_err(|_| KeyError::Password)
}

/// Encrypts PKCS#8.
pub(crate) fn seal(der: &Secret<Vec<u8>>, password: &Secret<String>) -> Result<Vec<u8>, KeyError> {
    let failed = |_| KeyError::Library("give random bytes");
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    rand::fill(&mut salt).map_err(failed)?;
    rand::fill(&mut nonce).map_err(failed)?;
    let ciphertext = cipher(password, &salt, COST)?
        .encrypt(Nonce::from_slice(&nonce), der.expose().as_slice())
        .map_err(|_| KeyError::Library("encrypt"))?;
    let sealed = Sealed {
        kdf: Kdf { name: "scrypt".to_owned(), params: COST, salt: BASE64.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: BASE64.encode(nonce) },
        ciphertext: BASE64.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|_| KeyError::Library("write JSON"))
}

fn cipher(password: &Secret<String>, salt: &[u8], cost: Cost) -> Result<XSalsa20Poly1305, KeyError> {
    let refused =
        || KeyError::Encryption(format!("scrypt with N = {}, r = {}, p = {}", cost.n, cost.r, cost.p));
    let memory = cost.n.checked_mul(u64::from(cost.r)).and_then(|blocks| blocks.checked_mul(128));
    let sane = memory.is_some_and(|memory| memory <= MOST_MEMORY) && cost.p <= MOST_PARALLEL;
    if !sane || !cost.n.is_power_of_two() || cost.n < 2 {
        return Err(refused());
    }
    // A power of two up to the memory's limit: its logarithm fits a byte.
    let log_n = u8::try_from(cost.n.trailing_zeros()).map_err(|_| refused())?;
    let params = Params::new(log_n, cost.r, cost.p).map_err(|_| refused())?;
    let mut derived = vec![0; 32];
    scrypt(password.expose().as_bytes(), salt, &params, &mut derived).map_err(|_| refused())?;
    let key = Secret::new(derived);
    XSalsa20Poly1305::new_from_slice(key.expose()).map_err(|_| refused())
}
