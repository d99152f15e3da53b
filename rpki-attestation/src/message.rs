//! RPKI signed messages (draft-spaghetti-sidrops-rpki-rsm, ASN.1 module `RpkiSignedMessage-2025`).

use bcder::decode::{Constructed, DecodeError, Source};
use bcder::encode::{self, Values};
use bcder::{Captured, Ia5String, Mode, OctetString, Oid, Tag};
use bytes::Bytes;
use rpki::crypto::DigestAlgorithm;
use rpki::repository::cert::Cert;
use rpki::repository::resources::{AddressFamily, AsBlock, AsBlocks, IpBlock, IpBlocks};
use rpki::repository::sigobj::SignedObject;

use crate::failure::{Failure, Step};
use crate::resources::Blocks;

/// AS ranges in one message.
const MOST_AS_RANGES: usize = 64;
/// Address ranges of both families in one message.
const MOST_ADDRESS_RANGES: usize = 256;
/// `rpki` 0.20 writes the length of signed attributes from 128 octets wrongly, which an object
/// identifier this long brings about.
const MOST_OF_CONTENT_TYPE: usize = 31;

/// The object identifier 1.3.6.1.5.5.7.1.11 in DER.
const SUBJECT_INFO_ACCESS: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x0b];

/// The object identifiers that a message must have. None is allocated yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageProfile {
    content_type: Oid<Vec<u8>>,
    audience: Oid<Vec<u8>>,
    purpose: Oid<Vec<u8>>,
}

impl MessageProfile {
    /// In dotted notation: the type of the content, the audience that means everybody, and the
    /// purpose that means OAuth.
    pub fn new(
        content_type: &str,
        audience: &str,
        purpose: &str,
    ) -> Result<Self, MessageProfileError> {
        let profile = Self {
            content_type: object_identifier(content_type)?,
            audience: object_identifier(audience)?,
            purpose: object_identifier(purpose)?,
        };
        let length = profile.content_type.as_ref().len();
        if length > MOST_OF_CONTENT_TYPE {
            return Err(MessageProfileError::TooLong(content_type.to_owned()));
        }
        Ok(profile)
    }
}

fn object_identifier(text: &str) -> Result<Oid<Vec<u8>>, MessageProfileError> {
    text.parse()
        .map_err(|_| MessageProfileError::NoObjectIdentifier(text.to_owned()))
}

/// Why object identifiers cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageProfileError {
    #[error("{0:?} is no object identifier in dotted notation, such as \"1.3.6.1.4.1.32473.1\"")]
    NoObjectIdentifier(String),
    #[error("the object identifier {0:?} of a content type must have at most 31 octets")]
    TooLong(String),
}

/// A message whose form is right. Nothing about its signature or certificate is known yet.
#[derive(Clone, Debug)]
pub(crate) struct SignedMessage {
    pub(crate) object: SignedObject,
    pub(crate) resources: Blocks,
    /// SHA-256.
    pub(crate) digest: Bytes,
}

impl SignedMessage {
    pub(crate) fn decode(der: &[u8], profile: &MessageProfile) -> Result<Self, Failure> {
        let malformed = |what: &str| Failure::new(Step::Cms, what);
        // The decoder passes over octets after the object.
        if !is_one_value(der) {
            return Err(malformed(
                "there are octets before or after the signed message",
            ));
        }
        let object = SignedObject::decode(der, true).map_err(|error| {
            Failure::new(
                Step::Cms,
                format!("it is no signed object of RFC 6488: {error}"),
            )
        })?;
        if *object.content_type() != profile.content_type {
            return Err(Failure::new(
                Step::ContentType,
                format!(
                    "the type of its content is {}, not {}",
                    object.content_type(),
                    profile.content_type
                ),
            ));
        }
        refuse_other_certificates(object.cert())?;
        let octets = object.content().to_bytes();
        if !is_one_value(&octets) {
            return Err(malformed("there are octets after its content"));
        }
        let content = Mode::Der
            .decode(octets.as_ref(), Content::take_from)
            .map_err(|error| {
                Failure::new(
                    Step::Cms,
                    format!("its content is no RPKI signed message: {error}"),
                )
            })?;
        content.check(profile)?;
        Ok(Self {
            object,
            resources: content.resources,
            digest: content.digest,
        })
    }

    pub(crate) fn certificate(&self) -> &Cert {
        self.object.cert()
    }
}

/// A message is published nowhere: its certificate says so by having no subject information access.
fn refuse_other_certificates(certificate: &Cert) -> Result<(), Failure> {
    // The crate passes over access methods that it does not know, so the extension itself is looked for.
    let der = certificate.to_captured();
    let is_published = der
        .as_slice()
        .windows(SUBJECT_INFO_ACCESS.len())
        .any(|octets| octets == SUBJECT_INFO_ACCESS);
    if is_published {
        return Err(Failure::new(
            Step::Cms,
            "its certificate has a subject information access, which that of a signed message must not have",
        ));
    }
    certificate.inspect_detached_ee(true).map_err(|error| {
        Failure::new(
            Step::Cms,
            format!("its certificate is none of a signed message: {error}"),
        )
    })
}

struct Content {
    audience: Option<Oid<Bytes>>,
    purpose: Oid<Bytes>,
    resources: Blocks,
    digest: Bytes,
}

impl Content {
    fn take_from<S: Source>(cons: &mut Constructed<S>) -> Result<Self, DecodeError<S::Error>> {
        cons.take_sequence(|cons| {
            // DER leaves out what is the default, and 0 is the only version.
            cons.take_opt_constructed_if(Tag::CTX_0, |cons| -> Result<(), _> {
                Err(cons.content_err("a version other than 0, or 0 written out"))
            })?;
            let audience = cons.take_opt_constructed_if(Tag::CTX_1, |cons| Oid::take_from(cons))?;
            let purpose = Oid::take_from(cons)?;
            let resources = take_resources(cons)?;
            DigestAlgorithm::take_from(cons)?;
            let digest = OctetString::take_from(cons)?.into_bytes();
            if let Some(label) = Ia5String::take_opt_from(cons)? {
                check_label(&label.into_bytes()).map_err(|error| cons.content_err(error))?;
            }
            Ok(Self {
                audience,
                purpose,
                resources,
                digest,
            })
        })
    }

    fn check(&self, profile: &MessageProfile) -> Result<(), Failure> {
        match &self.audience {
            Some(audience) if *audience == profile.audience => {}
            Some(audience) => {
                return Err(Failure::new(
                    Step::Audience,
                    format!("its audience is {audience}, not {}", profile.audience),
                ));
            }
            None => return Err(Failure::new(Step::Audience, "it names no audience")),
        }
        if self.purpose != profile.purpose {
            return Err(Failure::new(
                Step::Purpose,
                format!("its purpose is {}, not {}", self.purpose, profile.purpose),
            ));
        }
        let as_ranges = self.resources.asns.iter().count();
        let addresses = [&self.resources.ipv4, &self.resources.ipv6];
        let address_ranges: usize = addresses.map(|blocks| blocks.iter().count()).iter().sum();
        if as_ranges > MOST_AS_RANGES || address_ranges > MOST_ADDRESS_RANGES {
            return Err(Failure::new(
                Step::Cms,
                format!(
                    "it names more than {MOST_AS_RANGES} ranges of AS numbers or {MOST_ADDRESS_RANGES} of addresses"
                ),
            ));
        }
        Ok(())
    }
}

fn check_label(label: &[u8]) -> Result<(), &'static str> {
    let is_plain = label
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if is_plain {
        Ok(())
    } else {
        Err("a label with other characters than letters, digits, \".\", \"_\" and \"-\"")
    }
}

/// A `ResourceBlock` (RFC 9323 section 4.2) in its canonical form (RFC 3779 sections 2.2.3.6 and
/// 3.2.3.4).
fn take_resources<S: Source>(cons: &mut Constructed<S>) -> Result<Blocks, DecodeError<S::Error>> {
    cons.take_sequence(|cons| {
        let asns = cons.take_opt_constructed_if(Tag::CTX_0, |cons| {
            cons.take_sequence(|cons| cons.take_constructed_if(Tag::CTX_0, take_asns))
        })?;
        let addresses =
            cons.take_opt_constructed_if(Tag::CTX_1, |cons| cons.take_sequence(take_families))?;
        if asns.is_none() && addresses.is_none() {
            return Err(cons.content_err("no resources"));
        }
        let (ipv4, ipv6) = addresses.unwrap_or_default();
        Ok(Blocks {
            asns: asns.unwrap_or_default(),
            ipv4: ipv4.unwrap_or_default(),
            ipv6: ipv6.unwrap_or_default(),
        })
    })
}

fn take_asns<S: Source>(cons: &mut Constructed<S>) -> Result<AsBlocks, DecodeError<S::Error>> {
    let mut blocks = AsBlocks::empty();
    let captured = cons.capture(|cons| {
        blocks = AsBlocks::take_from(cons)?;
        Ok(())
    })?;
    let has_range_of_one =
        |block: AsBlock| matches!(block, AsBlock::Range(range) if range.min() == range.max());
    let is_canonical = is_written_as(&captured, encode::sequence(blocks.encode_ref()))
        && !blocks.iter().any(has_range_of_one);
    if blocks.is_empty() || !is_canonical {
        return Err(cons.content_err("AS numbers that are not in canonical form"));
    }
    Ok(blocks)
}

/// Addresses of IPv4 and of IPv6.
type Families = (Option<IpBlocks>, Option<IpBlocks>);

/// Addresses of both families, IPv4 first and each once.
fn take_families<S: Source>(cons: &mut Constructed<S>) -> Result<Families, DecodeError<S::Error>> {
    let (mut ipv4, mut ipv6) = (None, None);
    while let Some((family, blocks)) = take_family(cons)? {
        let (taken, is_in_order) = match family {
            AddressFamily::Ipv4 => {
                let is_in_order = ipv4.is_none() && ipv6.is_none();
                (&mut ipv4, is_in_order)
            }
            AddressFamily::Ipv6 => {
                let is_in_order = ipv6.is_none();
                (&mut ipv6, is_in_order)
            }
        };
        if !is_in_order {
            return Err(cons.content_err("address families twice or in another order"));
        }
        *taken = Some(blocks);
    }
    if ipv4.is_none() && ipv6.is_none() {
        return Err(cons.content_err("address blocks without an address"));
    }
    Ok((ipv4, ipv6))
}

/// The next `ConstrainedIPAddressFamily`.
fn take_family<S: Source>(
    cons: &mut Constructed<S>,
) -> Result<Option<(AddressFamily, IpBlocks)>, DecodeError<S::Error>> {
    cons.take_opt_sequence(|cons| {
        let family = AddressFamily::take_from(cons)?;
        let mut blocks = IpBlocks::empty();
        let captured = cons.capture(|cons| {
            blocks = IpBlocks::take_from_with_family(cons, family)?;
            Ok(())
        })?;
        let has_range_of_prefix =
            |block: IpBlock| matches!(block, IpBlock::Range(range) if range.into_prefix().is_ok());
        let is_canonical = is_written_as(&captured, blocks.encode_ref())
            && !blocks.iter().any(has_range_of_prefix);
        if blocks.is_empty() || !is_canonical {
            return Err(cons.content_err("addresses that are not in canonical form"));
        }
        Ok((family, blocks))
    })
}

fn is_written_as(captured: &Captured, values: impl Values) -> bool {
    captured.as_slice() == values.to_captured(Mode::Der).as_slice()
}

/// Whether the octets are exactly one DER value of a short tag.
fn is_one_value(der: &[u8]) -> bool {
    let Some((_, [first, rest @ ..])) = der.split_first() else {
        return false;
    };
    let length = if *first < 0x80 {
        Some((usize::from(*first), rest))
    } else {
        let octets = usize::from(*first & 0x7f);
        rest.split_at_checked(octets).and_then(|(length, content)| {
            let length = length.iter().try_fold(0_usize, |sum, octet| {
                sum.checked_mul(256)?.checked_add(usize::from(*octet))
            })?;
            Some((length, content))
        })
    };
    length.is_some_and(|(length, content)| length == content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_no_octets_around_it() {
        for one in [&[0x30, 0][..], &[0x30, 1, 0], &[0x30, 0x81, 1, 0]] {
            assert!(is_one_value(one), "{one:?}");
        }
        for other in [
            &[][..],
            &[0x30],
            &[0x30, 0, 0],
            &[0x30, 2, 0],
            &[0x30, 0x81],
            &[0x30, 0x81, 1, 0, 0],
        ] {
            assert!(!is_one_value(other), "{other:?}");
        }
    }

    #[test]
    fn object_identifiers_that_cannot_be_used_are_named() {
        let of = |content_type: &str| MessageProfile::new(content_type, "1.2.3", "1.2.4");

        assert!(of("1.3.6.1.4.1.32473.1").is_ok());
        assert_eq!(
            of("rsm"),
            Err(MessageProfileError::NoObjectIdentifier("rsm".to_owned()))
        );
        let long = format!("1.3{}", ".1".repeat(31));
        assert_eq!(of(&long), Err(MessageProfileError::TooLong(long)));
        assert!(of(&format!("1.3{}", ".1".repeat(30))).is_ok());
    }
}
