//! Lines to paste: how each kind of initiator connects to a volume.

use api::{OsVolume, Portal};

/// The lines for open-iscsi, QEMU and iPXE, with a heading each.
pub(crate) fn lines(volume: &OsVolume) -> String {
    let Some(first) = volume.portals.first() else {
        return "No portal is open: nobody can connect.\n".to_owned();
    };
    let name = &volume.iscsi_name;
    let mut text = String::from("open-iscsi:\n");
    for portal in &volume.portals {
        let at = portal.host_port();
        text += &format!("  iscsiadm -m discovery -t sendtargets -p {at}\n");
        text += &format!("  iscsiadm -m node -T {name} -p {at} --login\n");
    }
    text += "QEMU:\n";
    text +=
        &format!("  -drive file=iscsi://{}/{name}/{},format=raw,if=virtio\n", first.host_port(), volume.lun);
    text += "iPXE:\n";
    text += &format!("  sanboot {}\n", root_path(first, volume));
    text
}

/// `iscsi:<server>:<protocol>:<port>:<LUN>:<target>` (RFC 4173 §5); LUNs are hexadecimal there.
fn root_path(portal: &Portal, volume: &OsVolume) -> String {
    let host = match portal.address.contains(':') {
        true => format!("[{}]", portal.address),
        false => portal.address.clone(),
    };
    format!("iscsi:{host}::{}:{:x}:{}", portal.port, volume.lun, volume.iscsi_name)
}
