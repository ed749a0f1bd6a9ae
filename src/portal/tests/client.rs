//! The smallest initiator that can test a portal.

use std::net::SocketAddr;

use bytes::BytesMut;
use iscsi::text::append_pair;
use iscsi::wire::{
    Bhs, DataIn, Deframer, LoginRequest, LoginResponse, LogoutRequest, NopOut, Opcode, Pdu, ScsiCommand,
    ScsiResponsePdu, Stage, TaskManagementRequestPdu, TextRequest, padding, with_data_segment,
};
use iscsi::{
    ConnectionId, InitiatorTaskTag, Isid, LogicalUnitNumber, SerialNumber, TargetTransferTag, TaskAttribute,
    TaskManagementFunction,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const INITIATOR: &str = "iqn.2026-01.test:initiator";

pub(super) struct Client {
    socket: TcpStream,
    received: BytesMut,
    cmd_sn: u32,
    tag: u32,
    /// Who it is.
    pub(super) initiator: &'static str,
    /// What commands and task management are sent to.
    pub(super) lun: LogicalUnitNumber,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (received, lun) = (BytesMut::new(), LogicalUnitNumber::ZERO);
        Self { socket, received, cmd_sn: 1, tag: 0, initiator: INITIATOR, lun }
    }

    pub(super) async fn log_in(&mut self, target: &str, isid: u8) -> [u8; 2] {
        let keys = [
            ("TargetName", target),
            ("SessionType", "Normal"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxRecvDataSegmentLength", "262144"),
        ];
        self.send_login(&keys, isid).await;
        self.log_in_answer().await
    }

    pub(super) async fn log_in_answer(&mut self) -> [u8; 2] {
        LoginResponse::parse(&self.receive().await.bhs).status
    }

    async fn send_login(&mut self, keys: &[(&str, &str)], isid: u8) {
        let mut text = Vec::new();
        append_pair(&mut text, "InitiatorName", self.initiator);
        keys.iter().for_each(|(key, value)| append_pair(&mut text, key, value));
        let request = LoginRequest {
            transit: true,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            isid: Isid([0, 2, 0x3d, 0, 0, isid]),
            cmd_sn: SerialNumber(self.cmd_sn),
            ..LoginRequest::default()
        };
        self.send(request.emit(), &text).await;
    }

    /// One request of the security stage, with its answer; with `last` on to full feature phase.
    pub(super) async fn security(&mut self, keys: &[(&str, &str)], last: bool) -> ([u8; 2], String) {
        let mut text = Vec::new();
        append_pair(&mut text, "InitiatorName", self.initiator);
        keys.iter().for_each(|(key, value)| append_pair(&mut text, key, value));
        let request = LoginRequest {
            transit: last,
            next_stage: Stage::FullFeaturePhase,
            isid: Isid([0, 2, 0x3d, 0, 0, 1]),
            cmd_sn: SerialNumber(self.cmd_sn),
            ..LoginRequest::default()
        };
        self.send(request.emit(), &text).await;
        let pdu = self.receive().await;
        (LoginResponse::parse(&pdu.bhs).status, String::from_utf8(pdu.data.to_vec()).unwrap())
    }

    /// A discovery session's answer to SendTargets=All.
    pub(super) async fn discover(&mut self) -> String {
        self.send_login(&[("SessionType", "Discovery")], 9).await;
        assert_eq!(self.log_in_answer().await, [0, 0]);
        let request = TextRequest {
            immediate: true,
            is_final: true,
            continues: false,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(1),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: SerialNumber(self.cmd_sn),
            exp_stat_sn: SerialNumber(0),
        };
        self.send(request.emit(), b"SendTargets=All\0").await;
        String::from_utf8(self.receive().await.data.to_vec()).unwrap()
    }

    pub(super) async fn send(&mut self, bhs: Bhs, data: &[u8]) {
        let mut frame = with_data_segment(bhs, data.len()).to_vec();
        frame.extend_from_slice(data);
        frame.resize(frame.len() + padding(data.len()), 0);
        self.socket.write_all(&frame).await.unwrap();
    }

    pub(super) async fn receive(&mut self) -> Pdu {
        self.try_receive().await.expect("a PDU, not the end of the connection")
    }

    async fn try_receive(&mut self) -> Option<Pdu> {
        let deframer = Deframer { header_digest: false, data_digest: false, segment_bytes_max: 1 << 20 };
        loop {
            if let Some(pdu) = deframer.next(&mut self.received).unwrap() {
                return Some(pdu);
            }
            if self.socket.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Does the connection end, whatever comes before?
    pub(super) async fn is_at_end(&mut self) -> bool {
        let end = async { while self.try_receive().await.is_some() {} };
        tokio::time::timeout(super::SOON, end).await.is_ok()
    }

    pub(super) fn last_tag(&self) -> InitiatorTaskTag {
        InitiatorTaskTag(self.tag)
    }

    pub(super) async fn send_command(&mut self, cdb: [u8; 16], reads: u32, data: &[u8]) {
        self.tag += 1;
        let writes = u32::try_from(data.len()).unwrap();
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            reads: reads > 0,
            writes: writes > 0,
            attribute: TaskAttribute::Simple,
            lun: self.lun,
            initiator_task_tag: InitiatorTaskTag(self.tag),
            expected_data_transfer_bytes: reads.max(writes),
            cmd_sn: SerialNumber(self.cmd_sn),
            exp_stat_sn: SerialNumber(0),
            cdb,
        };
        self.cmd_sn += 1;
        self.send(command.emit(), data).await;
    }

    pub(super) async fn test_unit_ready(&mut self) -> Pdu {
        self.send_command([0; 16], 0, &[]).await;
        self.receive().await
    }

    /// Takes the unit attentions of a new session.
    pub(super) async fn clear_attention(&mut self) {
        while ScsiResponsePdu::parse(&self.test_unit_ready().await.bhs).status != 0 {}
    }

    pub(super) async fn send_write(&mut self, lba: u8, data: &[u8]) {
        let [high, low] = u16::try_from(data.len() / 512).unwrap().to_be_bytes();
        self.send_command([0x2a, 0, 0, 0, 0, lba, 0, high, low, 0, 0, 0, 0, 0, 0, 0], 0, data).await;
    }

    pub(super) async fn write(&mut self, lba: u8, data: &[u8]) -> u8 {
        self.send_write(lba, data).await;
        ScsiResponsePdu::parse(&self.receive().await.bhs).status
    }

    pub(super) async fn read(&mut self, lba: u8, bytes: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(bytes / 512).unwrap().to_be_bytes();
        let cdb = [0x28, 0, 0, 0, 0, lba, 0, high, low, 0, 0, 0, 0, 0, 0, 0];
        self.send_command(cdb, u32::try_from(bytes).unwrap(), &[]).await;
        let mut data = Vec::new();
        loop {
            let pdu = self.receive().await;
            assert_eq!(Opcode::of(&pdu.bhs), Opcode::DataIn);
            data.extend_from_slice(&pdu.data);
            if DataIn::parse(&pdu.bhs).status.is_some() {
                return data;
            }
        }
    }

    pub(super) async fn ping(&mut self) {
        self.tag += 1;
        let ping = NopOut {
            immediate: true,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(self.tag),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: SerialNumber(self.cmd_sn),
            exp_stat_sn: SerialNumber(0),
        };
        self.send(ping.emit(), b"ping").await;
    }

    pub(super) async fn send_task_management(&mut self, function: TaskManagementFunction) {
        self.tag += 1;
        let request = TaskManagementRequestPdu {
            immediate: true,
            function: function.code(),
            lun: self.lun,
            initiator_task_tag: InitiatorTaskTag(self.tag),
            referenced_task_tag: InitiatorTaskTag::RESERVED,
            cmd_sn: SerialNumber(self.cmd_sn),
            exp_stat_sn: SerialNumber(0),
            ref_cmd_sn: SerialNumber(0),
            exp_data_sn: 0,
        };
        self.send(request.emit(), &[]).await;
    }

    pub(super) async fn log_out(&mut self) {
        self.tag += 1;
        let request = LogoutRequest {
            immediate: true,
            reason: 0,
            initiator_task_tag: InitiatorTaskTag(self.tag),
            connection_id: ConnectionId(0),
            cmd_sn: SerialNumber(self.cmd_sn),
            exp_stat_sn: SerialNumber(0),
        };
        self.send(request.emit(), &[]).await;
    }
}
