//! Explains handshake failures to the operator who has to fix them.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible,
};

use crate::name::shown;

/// Maximum number of certificate names in a message.
const NAMES_SHOWN: usize = 3;

/// The reason why a certificate was rejected.
///
/// It is wrapped in an error of rustls, of which QUIC keeps only the text. So both `Display` and
/// `Debug` are the plain reason.
pub(super) struct Refused(String);

impl Refused {
    pub(super) fn because(reason: impl Into<String>) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Self(
            reason.into(),
        )))))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Refused {}

/// Explains why a handshake failed, and how to fix it.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(cause) => explain_certificate(cause),
        Error::AlertReceived(alert) => describe_alert(*alert),
        Error::NoApplicationProtocol => describe_alert(AlertDescription::NoApplicationProtocol),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the other side does not speak TLS; is it plain http, or another port?".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            describe_alert(AlertDescription::ProtocolVersion)
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}

/// Explains an alert sent by the peer. On QUIC, its code is the connection close code minus 0x100.
pub(crate) fn explain_alert(code: u8) -> String {
    describe_alert(AlertDescription::from(code))
}

/// Extracts the reason from the text of a rustls error, for transports that keep only the text.
pub(crate) fn explain_reason(text: &str) -> &str {
    let text = text.strip_prefix("invalid peer certificate: ").unwrap_or(text);
    text.strip_prefix("Other(OtherError(").and_then(|text| text.strip_suffix("))")).unwrap_or(text)
}

/// Returns the rustls error in the source chain of `error`, if any.
pub(crate) fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `source()` of an I/O error skips the wrapped error itself.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next =
            wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

/// Returns whether the peer rejected our certificate. With TLS 1.3, a client learns of it only
/// after it has sent its first bytes, which the server has not read in this case.
pub(crate) fn refuses_us(error: &Error) -> bool {
    use AlertDescription as Alert;
    matches!(
        error,
        Error::AlertReceived(
            Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired
        )
    )
}

fn describe_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let reason = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => {
            return "the server wants a client certificate: set `client_cert_file` and `client_key_file`".to_owned();
        }
        Alert::NoApplicationProtocol => {
            return "the other side speaks none of our protocols".to_owned();
        }
        Alert::ProtocolVersion => {
            return "the other side speaks no version of TLS that we do".to_owned();
        }
        Alert::HandshakeFailure => {
            return "the other side refuses the handshake: it may want a client certificate, or other ciphers"
                .to_owned();
        }
        Alert::UnknownCA => "it does not know its issuer",
        Alert::CertificateExpired => "it is not valid now",
        Alert::CertificateRevoked => "it is revoked",
        Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied => "it gives no reason",
        other => return format!("the other side ended the TLS handshake: {other:?}"),
    };
    format!("the other side refuses our certificate: {reason}")
}

pub(super) fn explain_certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::Other(OtherError(reason)) => reason.to_string(),
        CertificateError::NotValidForNameContext { expected, presented } => wrong_name(&expected.to_str(), presented),
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("the certificate expired {} ago", span(*not_after, *time))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("the certificate is not valid yet, but in {}", span(*time, *not_before))
        }
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::NotValidYet => "the certificate is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => {
            "the certificate comes from an unknown issuer; set `ca_file` or `pin_sha256`".to_owned()
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        CertificateError::BadSignature | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate is not signed by its issuer, but there may be two of that name; set `ca_file` or `pin_sha256`"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for this side of a connection".to_owned()
        }
        other => format!("the certificate is not good: {other}"),
    }
}

fn wrong_name(expected: &str, presented: &[String]) -> String {
    let mut names: Vec<_> =
        presented.iter().take(NAMES_SHOWN).map(|name| format!("`{}`", plain(name))).collect();
    if presented.len() > NAMES_SHOWN {
        names.push("others".to_owned());
    }
    let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
    format!(
        "the certificate is for {names}, not for `{expected}`; `server_name` says which name to expect"
    )
}

/// Extracts the name from `DnsName("example.org")` or `IpAddress(10.0.0.1)`. The name is untrusted:
/// it comes from a rejected certificate.
fn plain(presented: &str) -> String {
    let inner =
        presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    shown(inner.trim_matches('"'))
}

fn span(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
