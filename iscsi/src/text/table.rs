//! All keys of RFC 7143 §13 (and RFC 7144's one), in one table: none of them is NotUnderstood (§6.2, §11.12.10,
//! §11.13.8).

use crate::wire::Stage;

/// A key that has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Key {
    AuthMethod,
    HeaderDigest,
    DataDigest,
    MaxConnections,
    SendTargets,
    TargetName,
    InitiatorName,
    TargetAlias,
    InitiatorAlias,
    TargetAddress,
    TargetPortalGroupTag,
    InitialR2T,
    ImmediateData,
    MaxRecvDataSegmentLength,
    MaxBurstLength,
    FirstBurstLength,
    DefaultTime2Wait,
    DefaultTime2Retain,
    MaxOutstandingR2T,
    DataPDUInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    SessionType,
    TaskReporting,
    ProtocolLevel,
    IFMarker,
    OFMarker,
    IFMarkInt,
    OFMarkInt,
    ChapA,
    ChapI,
    ChapC,
    ChapN,
    ChapR,
}

/// How two values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Said by one side, not answered.
    Declared,
    /// A number said by one side, not answered.
    DeclaredNumber(u64, u64),
    /// The first of the peer's list that we also allow; None is a function that is missing (§6.2.1, §13.1).
    Choice(&'static [&'static str]),
    /// Yes if both say Yes.
    And,
    /// Yes if one says Yes.
    Or,
    /// The smaller of two numbers of this range.
    Minimum(u64, u64),
    /// The larger of two numbers of this range.
    Maximum(u64, u64),
    /// Obsolete since RFC 7143 §13.25: always this answer, never NotUnderstood. Ranges (§6.2.2) are among these only.
    Obsolete(&'static str),
    /// A step of CHAP (§12.1.3), or SendTargets: dealt with outside the table.
    Special,
}

/// What a key's value holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SW: the whole session; settled by the leading login.
    Session,
    /// CO: one connection.
    Connection,
}

/// Who may send a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// The initiator.
    Initiator,
    /// The target.
    Target,
    /// Both.
    Both,
}

/// What the standard says of one key.
#[derive(Clone, Copy, Debug)]
pub struct KeyRow {
    /// The key.
    pub key: Key,
    /// Its name on the wire.
    pub name: &'static str,
    /// Section of RFC 7143.
    pub section: &'static str,
    /// How it is settled.
    pub rule: Rule,
    /// What it holds for.
    pub scope: Scope,
    /// Who may send it.
    pub senders: Senders,
    /// Value when nobody mentions it.
    pub default: &'static str,
    /// May it be sent in full feature phase?
    pub in_full_feature: bool,
}

const LENGTH_MAX: u64 = (1 << 24) - 1;

#[rustfmt::skip]
#[expect(clippy::too_many_arguments, reason = "a row of the table is a line of eight columns")]
const fn row(
    key: Key, name: &'static str, section: &'static str, rule: Rule, scope: Scope, senders: Senders,
    default: &'static str, in_full_feature: bool,
) -> KeyRow {
    KeyRow { key, name, section, rule, scope, senders, default, in_full_feature }
}

/// The table.
#[rustfmt::skip]
pub static KEYS: &[KeyRow] = &{
    use Key::*;
    use Rule::*;
    use Scope::{Connection as CO, Session as SW};
    use Senders::{Both, Initiator, Target};
    [
        row(AuthMethod, "AuthMethod", "12", Choice(&["CHAP", "None"]), CO, Both, "", false),
        row(HeaderDigest, "HeaderDigest", "13.1", Choice(&["CRC32C", "None"]), CO, Both, "None", false),
        row(DataDigest, "DataDigest", "13.1", Choice(&["CRC32C", "None"]), CO, Both, "None", false),
        row(MaxConnections, "MaxConnections", "13.2", Minimum(1, 65535), SW, Both, "1", false),
        row(SendTargets, "SendTargets", "13.3", Special, SW, Initiator, "", true),
        row(TargetName, "TargetName", "13.4", Declared, SW, Both, "", true),
        row(InitiatorName, "InitiatorName", "13.5", Declared, SW, Initiator, "", false),
        row(TargetAlias, "TargetAlias", "13.6", Declared, SW, Target, "", true),
        row(InitiatorAlias, "InitiatorAlias", "13.7", Declared, SW, Initiator, "", true),
        row(TargetAddress, "TargetAddress", "13.8", Declared, SW, Target, "", true),
        row(TargetPortalGroupTag, "TargetPortalGroupTag", "13.9", Declared, SW, Target, "", false),
        row(InitialR2T, "InitialR2T", "13.10", Or, SW, Both, "Yes", false),
        row(ImmediateData, "ImmediateData", "13.11", And, SW, Both, "Yes", false),
        row(MaxRecvDataSegmentLength, "MaxRecvDataSegmentLength", "13.12", DeclaredNumber(512, LENGTH_MAX), CO, Both,
            "8192", true),
        row(MaxBurstLength, "MaxBurstLength", "13.13", Minimum(512, LENGTH_MAX), SW, Both, "262144", false),
        row(FirstBurstLength, "FirstBurstLength", "13.14", Minimum(512, LENGTH_MAX), SW, Both, "65536", false),
        row(DefaultTime2Wait, "DefaultTime2Wait", "13.15", Maximum(0, 3600), SW, Both, "2", false),
        row(DefaultTime2Retain, "DefaultTime2Retain", "13.16", Minimum(0, 3600), SW, Both, "20", false),
        row(MaxOutstandingR2T, "MaxOutstandingR2T", "13.17", Minimum(1, 65535), SW, Both, "1", false),
        row(DataPDUInOrder, "DataPDUInOrder", "13.18", Or, SW, Both, "Yes", false),
        row(DataSequenceInOrder, "DataSequenceInOrder", "13.19", Or, SW, Both, "Yes", false),
        row(ErrorRecoveryLevel, "ErrorRecoveryLevel", "13.20", Minimum(0, 2), SW, Both, "0", false),
        row(SessionType, "SessionType", "13.21", Declared, SW, Initiator, "Normal", false),
        row(TaskReporting, "TaskReporting", "13.23", Choice(&["RFC3720"]), SW, Both, "RFC3720", false),
        row(ProtocolLevel, "iSCSIProtocolLevel", "13.24", Minimum(0, 31), SW, Both, "1", false),
        row(IFMarker, "IFMarker", "13.25", Obsolete("No"), CO, Both, "No", false),
        row(OFMarker, "OFMarker", "13.25", Obsolete("No"), CO, Both, "No", false),
        row(IFMarkInt, "IFMarkInt", "13.25", Obsolete("Reject"), CO, Both, "", false),
        row(OFMarkInt, "OFMarkInt", "13.25", Obsolete("Reject"), CO, Both, "", false),
        row(ChapA, "CHAP_A", "12.1.3", Special, CO, Both, "", false),
        row(ChapI, "CHAP_I", "12.1.3", Special, CO, Both, "", false),
        row(ChapC, "CHAP_C", "12.1.3", Special, CO, Both, "", false),
        row(ChapN, "CHAP_N", "12.1.3", Special, CO, Both, "", false),
        row(ChapR, "CHAP_R", "12.1.3", Special, CO, Both, "", false),
    ]
};

impl KeyRow {
    /// The row of a name as it came from a peer. Names are case-sensitive (RFC 7143 §6.1).
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|row| row.name == name)
    }

    /// May an initiator send the key in this stage of a login? Security keys belong to the security stage (§6.3, §12)
    /// and SendTargets to full feature phase (Appendix C). Operational keys are taken in the security stage too: old
    /// initiators send them there.
    #[must_use]
    pub fn is_allowed_in(&self, stage: Stage) -> bool {
        match self.key {
            Key::SendTargets => false,
            Key::AuthMethod | Key::ChapA | Key::ChapI | Key::ChapC | Key::ChapN | Key::ChapR => {
                stage == Stage::SecurityNegotiation
            }
            _ => true,
        }
    }

    /// Does a login fail when there is no agreement about the key (§7.12)? Not about those that are obsolete, and
    /// those that are not an initiator's to send are but rejected.
    #[must_use]
    pub fn must_be_agreed(&self) -> bool {
        let is_settled = self.is_negotiated() || matches!(self.rule, Rule::DeclaredNumber(..));
        is_settled && !matches!(self.rule, Rule::Obsolete(_)) && self.senders != Senders::Target
    }

    /// Must the peer's value be answered?
    #[must_use]
    pub const fn is_negotiated(&self) -> bool {
        match self.rule {
            Rule::Declared | Rule::DeclaredNumber(..) | Rule::Special => false,
            Rule::Choice(_)
            | Rule::And
            | Rule::Or
            | Rule::Minimum(..)
            | Rule::Maximum(..)
            | Rule::Obsolete(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once() {
        for (at, row) in KEYS.iter().enumerate() {
            assert!(
                KEYS[..at].iter().all(|other| other.name != row.name && other.key != row.key),
                "{}",
                row.name
            );
            assert!(std::ptr::eq(KeyRow::find(row.name).unwrap(), row));
        }
        assert!(KeyRow::find("headerdigest").is_none());
    }
}
