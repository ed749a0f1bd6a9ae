//! CHAP (RFC 7143 §9.2, §9.2.1, §12.1.3, RFC 1994): the target's side, one way and mutual.
//!
//! ```text
//!   initiator                     target
//!   CHAP_A=<algorithms>     ──▶
//!                           ◀──   CHAP_A CHAP_I CHAP_C           offered
//!   CHAP_N CHAP_R           ──▶
//!   [CHAP_I CHAP_C]         ◀──   [CHAP_N CHAP_R]                proved
//! ```

use super::{ChapAlgorithm, ChapCredential, ChapPolicy};
use crate::text::{Pairs, append_pair, binary_to_hex, decode_binary, parse_number};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// CHAP failed. Which step failed is for the log; the peer learns nothing but that it did.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChapError {
    /// No algorithm that we allow.
    #[error("no common CHAP algorithm")]
    Algorithm,
    /// A key of this step is missing.
    #[error("a CHAP key is missing")]
    Missing,
    /// A key is malformed or out of turn.
    #[error("a CHAP key is malformed or out of turn")]
    Malformed,
    /// The name is unknown or the answer is wrong.
    #[error("the CHAP answer is wrong")]
    Answer,
    /// The peer asks us to answer our own challenge.
    #[error("the peer reflects our challenge")]
    Reflection,
    /// The peer asks for proof that we have no secret for.
    #[error("mutual CHAP is not configured")]
    NoMutualSecret,
}

/// One CHAP exchange.
#[derive(Debug)]
pub struct Chap {
    policy: ChapPolicy,
    identifier: u8,
    challenge: [u8; 32],
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Start,
    Challenged(ChapAlgorithm),
    Proved { name: String },
}

impl ChapAlgorithm {
    /// From the strongest to the weakest.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The number in CHAP_A.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    fn of_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.code() == code)
    }

    /// Hash of identifier, secret and challenge.
    #[must_use]
    pub fn answer(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
        fn hash<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            let mut digest = D::new();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize().to_vec()
        }
        let parts = [&[identifier][..], secret, challenge];
        match self {
            Self::Md5 => hash::<Md5>(parts),
            Self::Sha1 => hash::<Sha1>(parts),
            Self::Sha256 => hash::<Sha256>(parts),
            Self::Sha3_256 => hash::<Sha3_256>(parts),
        }
    }

    /// As long a challenge as the answer, as initiators of each age expect.
    const fn challenge_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }
}

impl Chap {
    /// An exchange with a fresh random challenge.
    #[must_use]
    pub const fn new(policy: ChapPolicy, identifier: u8, challenge: [u8; 32]) -> Self {
        Self { policy, identifier, challenge, state: State::Start }
    }

    /// Has the peer proved itself?
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Proved { .. })
    }

    /// The name that the peer proved.
    #[must_use]
    pub fn proved_name(&self) -> Option<&str> {
        match &self.state {
            State::Proved { name } => Some(name),
            State::Start | State::Challenged(_) => None,
        }
    }

    /// Takes the CHAP keys of one request and appends the answer's. A request without any leaves all as it is.
    ///
    /// # Errors
    /// When the login must fail.
    pub fn handle(&mut self, pairs: &Pairs, answer: &mut Vec<u8>) -> Result<(), ChapError> {
        match self.state.clone() {
            State::Start => match pairs.value("CHAP_A") {
                Some(algorithms) => self.challenge(algorithms, answer),
                None if has_chap_keys(pairs) => Err(ChapError::Malformed),
                None => Ok(()),
            },
            State::Challenged(algorithm) if has_chap_keys(pairs) => self.verify(algorithm, pairs, answer),
            State::Challenged(_) => Ok(()),
            State::Proved { .. } if has_chap_keys(pairs) => Err(ChapError::Malformed),
            State::Proved { .. } => Ok(()),
        }
    }

    /// The list is in the peer's order of preference (§12.1.3), and of such a list the first value that we allow is
    /// taken (§6.2.1): libiscsi cannot even go on with another one than its first.
    fn challenge(&mut self, offered: &str, answer: &mut Vec<u8>) -> Result<(), ChapError> {
        let offered =
            offered.split(',').filter_map(|code| ChapAlgorithm::of_code(parse_number(code.trim())?));
        let allowed = |algorithm: &ChapAlgorithm| {
            self.policy.algorithms.is_empty() || self.policy.algorithms.contains(algorithm)
        };
        let algorithm = { offered }.find(allowed).ok_or(ChapError::Algorithm)?;
        append_pair(answer, "CHAP_A", &algorithm.code().to_string());
        append_pair(answer, "CHAP_I", &self.identifier.to_string());
        append_pair(answer, "CHAP_C", &binary_to_hex(self.challenge_of(algorithm)));
        self.state = State::Challenged(algorithm);
        Ok(())
    }

    fn challenge_of(&self, algorithm: ChapAlgorithm) -> &[u8] {
        &self.challenge[..algorithm.challenge_bytes()]
    }

    fn verify(
        &mut self,
        algorithm: ChapAlgorithm,
        pairs: &Pairs,
        answer: &mut Vec<u8>,
    ) -> Result<(), ChapError> {
        let name = pairs.value("CHAP_N").ok_or(ChapError::Missing)?;
        let given = pairs.value("CHAP_R").ok_or(ChapError::Missing)?;
        let given = decode_binary(given).ok_or(ChapError::Malformed)?;
        self.check_answer(algorithm, name, &given)?;
        match (pairs.value("CHAP_I"), pairs.value("CHAP_C")) {
            (None, None) => {}
            (Some(identifier), Some(challenge)) => self.prove(algorithm, identifier, challenge, answer)?,
            _ => return Err(ChapError::Missing),
        }
        self.state = State::Proved { name: name.to_owned() };
        Ok(())
    }

    /// Takes as long for an unknown name as for a wrong answer.
    fn check_answer(&self, algorithm: ChapAlgorithm, name: &str, given: &[u8]) -> Result<(), ChapError> {
        let user = self.policy.users.iter().find(|user| user.name == name);
        let secret = user.map_or(&b"no such user"[..], |user| &user.secret);
        let expected = algorithm.answer(self.identifier, secret, self.challenge_of(algorithm));
        let is_right = bool::from(expected.ct_eq(given)) && !self.is_our_own(algorithm, given);
        if user.is_some() && is_right { Ok(()) } else { Err(ChapError::Answer) }
    }

    /// §9.2.1: an answer that we would give ourselves means one secret for both directions.
    fn is_our_own(&self, algorithm: ChapAlgorithm, given: &[u8]) -> bool {
        self.policy.mutual.as_ref().is_some_and(|own| {
            let answer = algorithm.answer(self.identifier, &own.secret, self.challenge_of(algorithm));
            bool::from(answer.ct_eq(given))
        })
    }

    fn prove(
        &self,
        algorithm: ChapAlgorithm,
        identifier: &str,
        challenge: &str,
        answer: &mut Vec<u8>,
    ) -> Result<(), ChapError> {
        let identifier = parse_number(identifier).and_then(|number| u8::try_from(number).ok());
        let identifier = identifier.ok_or(ChapError::Malformed)?;
        let challenge = decode_binary(challenge).ok_or(ChapError::Malformed)?;
        // RFC 7143 §12.1.3: a challenge that is our own would make us compute the peer's answer for it.
        if challenge == self.challenge_of(algorithm) {
            return Err(ChapError::Reflection);
        }
        let ChapCredential { name, secret } = self.policy.mutual.as_ref().ok_or(ChapError::NoMutualSecret)?;
        append_pair(answer, "CHAP_N", name);
        append_pair(answer, "CHAP_R", &binary_to_hex(&algorithm.answer(identifier, secret, &challenge)));
        Ok(())
    }
}

fn has_chap_keys(pairs: &Pairs) -> bool {
    pairs.iter().any(|(key, _)| matches!(key, "CHAP_A" | "CHAP_I" | "CHAP_C" | "CHAP_N" | "CHAP_R"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a-secret-of-16-b";

    fn chap(algorithms: &[ChapAlgorithm], mutual: bool) -> Chap {
        let policy = ChapPolicy {
            users: vec![ChapCredential { name: "alice".into(), secret: SECRET.into() }],
            mutual: mutual
                .then(|| ChapCredential { name: "target".into(), secret: b"another-secret".into() }),
            algorithms: algorithms.into(),
        };
        Chap::new(policy, 7, [0xa5; 32])
    }

    fn step(chap: &mut Chap, pairs: &[(&str, String)]) -> Result<Pairs, ChapError> {
        let mut text = Vec::new();
        pairs.iter().for_each(|(key, value)| append_pair(&mut text, key, value));
        let mut answer = Vec::new();
        chap.handle(&Pairs::parse(&text).unwrap(), &mut answer)?;
        Ok(Pairs::parse(&answer).unwrap())
    }

    fn start(chap: &mut Chap, algorithms: &str) -> Result<Pairs, ChapError> {
        step(chap, &[("CHAP_A", algorithms.into())])
    }

    fn proof(algorithm: ChapAlgorithm, secret: &[u8], challenge_bytes: usize) -> [(&'static str, String); 2] {
        let answer = algorithm.answer(7, secret, &[0xa5; 32][..challenge_bytes]);
        [("CHAP_N", "alice".into()), ("CHAP_R", binary_to_hex(&answer))]
    }

    /// MD5("\x01" "secret" 16 zero bytes), worked out with md5sum.
    #[test]
    fn the_hash_covers_identifier_secret_and_challenge_in_this_order() {
        let by_parts = ChapAlgorithm::Md5.answer(1, b"secret", &[0; 16]);
        let mut whole = b"\x01secret".to_vec();
        whole.extend([0; 16]);
        assert_eq!(by_parts, Md5::digest(&whole).to_vec());
        assert_eq!(by_parts.len(), 16);
    }

    #[test]
    fn each_algorithm_one_way() {
        for (algorithm, bytes) in ChapAlgorithm::ALL.map(|algorithm| (algorithm, algorithm.challenge_bytes()))
        {
            let mut chap = chap(&[], false);
            let offer = start(&mut chap, &algorithm.code().to_string()).unwrap();
            assert_eq!(offer.value("CHAP_A"), Some(algorithm.code().to_string().as_str()));
            assert_eq!(offer.value("CHAP_I"), Some("7"));
            assert_eq!(offer.value("CHAP_C"), Some(format!("0x{}", "a5".repeat(bytes)).as_str()));
            assert!(step(&mut chap, &proof(algorithm, SECRET, bytes)).unwrap().is_empty());
            assert_eq!(chap.proved_name(), Some("alice"));
        }
    }

    #[test]
    fn the_first_algorithm_offered_is_taken_and_some_can_be_forbidden() {
        assert_eq!(start(&mut chap(&[], false), "5,6,7,8").unwrap().value("CHAP_A"), Some("5"));
        assert_eq!(start(&mut chap(&[], false), "9,8,5").unwrap().value("CHAP_A"), Some("8"));
        let strict = [ChapAlgorithm::Sha256];
        assert_eq!(start(&mut chap(&strict, false), "8,7,5").unwrap().value("CHAP_A"), Some("7"));
        assert_eq!(start(&mut chap(&strict, false), "5"), Err(ChapError::Algorithm));
        for nothing in ["nonsense", "", "56", "5 6"] {
            assert_eq!(start(&mut chap(&[], false), nothing), Err(ChapError::Algorithm), "{nothing:?}");
        }
    }

    #[test]
    fn a_wrong_secret_an_unknown_name_and_a_short_answer_fail_alike() {
        let mut wrong = chap(&[], false);
        start(&mut wrong, "5").unwrap();
        assert_eq!(step(&mut wrong, &proof(ChapAlgorithm::Md5, b"wrong", 16)), Err(ChapError::Answer));
        let mut unknown = chap(&[], false);
        start(&mut unknown, "5").unwrap();
        let mut pairs = proof(ChapAlgorithm::Md5, SECRET, 16);
        pairs[0].1 = "mallory".into();
        assert_eq!(step(&mut unknown, &pairs), Err(ChapError::Answer));
        let mut short = chap(&[], false);
        start(&mut short, "5").unwrap();
        let pairs = [("CHAP_N", "alice".to_owned()), ("CHAP_R", "0x00".to_owned())];
        assert_eq!(step(&mut short, &pairs), Err(ChapError::Answer));
        assert!(!short.is_done());
    }

    #[test]
    fn mutual_chap_proves_the_target() {
        let mut chap = chap(&[], true);
        start(&mut chap, "7").unwrap();
        let challenge = [3u8; 24];
        let mut pairs = proof(ChapAlgorithm::Sha256, SECRET, 32).to_vec();
        pairs.extend([("CHAP_I", "0xc8".to_owned()), ("CHAP_C", binary_to_hex(&challenge))]);
        let answer = step(&mut chap, &pairs).unwrap();
        let expected = ChapAlgorithm::Sha256.answer(200, b"another-secret", &challenge);
        assert_eq!(answer.value("CHAP_N"), Some("target"));
        assert_eq!(answer.value("CHAP_R"), Some(binary_to_hex(&expected).as_str()));
    }

    #[test]
    fn a_reflected_challenge_is_refused() {
        let mut chap = chap(&[], true);
        start(&mut chap, "5").unwrap();
        let mut pairs = proof(ChapAlgorithm::Md5, SECRET, 16).to_vec();
        pairs.extend([("CHAP_I", "1".to_owned()), ("CHAP_C", format!("0x{}", "a5".repeat(16)))]);
        assert_eq!(step(&mut chap, &pairs), Err(ChapError::Reflection));
    }

    #[test]
    fn one_secret_for_both_directions_is_refused() {
        let mut chap = chap(&[], true);
        chap.policy.mutual = Some(ChapCredential { name: "target".into(), secret: SECRET.into() });
        start(&mut chap, "7").unwrap();
        assert_eq!(step(&mut chap, &proof(ChapAlgorithm::Sha256, SECRET, 32)), Err(ChapError::Answer));
    }

    #[test]
    fn a_key_that_is_missing_is_told_from_one_that_is_malformed() {
        let [name, answer] = proof(ChapAlgorithm::Md5, SECRET, 16);
        let cases = [
            (vec![name.clone()], ChapError::Missing),
            (vec![answer.clone()], ChapError::Missing),
            (vec![name.clone(), answer.clone(), ("CHAP_I", "1".into())], ChapError::Missing),
            (vec![name.clone(), answer.clone(), ("CHAP_C", "0x01".into())], ChapError::Missing),
            (vec![name.clone(), ("CHAP_R", "nonsense".into())], ChapError::Malformed),
            (vec![name, answer, ("CHAP_I", "256".into()), ("CHAP_C", "0x01".into())], ChapError::Malformed),
        ];
        for (pairs, error) in cases {
            let mut chap = chap(&[], true);
            start(&mut chap, "5").unwrap();
            assert_eq!(step(&mut chap, &pairs), Err(error), "{pairs:?}");
        }
    }

    #[test]
    fn mutual_chap_without_a_secret_of_ours_is_refused() {
        let mut chap = chap(&[], false);
        start(&mut chap, "5").unwrap();
        let mut pairs = proof(ChapAlgorithm::Md5, SECRET, 16).to_vec();
        pairs.extend([("CHAP_I", "1".to_owned()), ("CHAP_C", "0x0102".to_owned())]);
        assert_eq!(step(&mut chap, &pairs), Err(ChapError::NoMutualSecret));
    }

    #[test]
    fn keys_out_of_turn_are_malformed() {
        assert_eq!(
            step(&mut chap(&[], false), &proof(ChapAlgorithm::Md5, SECRET, 16)),
            Err(ChapError::Malformed)
        );
        let mut halfway = chap(&[], false);
        start(&mut halfway, "5").unwrap();
        assert_eq!(start(&mut halfway, "5"), Err(ChapError::Missing), "its answer is missing");
        let mut through = chap(&[], false);
        start(&mut through, "5").unwrap();
        step(&mut through, &proof(ChapAlgorithm::Md5, SECRET, 16)).unwrap();
        assert_eq!(start(&mut through, "5"), Err(ChapError::Malformed));
    }

    #[test]
    fn debug_output_hides_secrets() {
        let shown = format!("{:?}", chap(&[], true));
        assert!(!shown.contains("another") && !shown.contains("a-secret"), "{shown}");
    }
}
