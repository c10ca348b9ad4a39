//! What lies between the service and its servers: cut, slow, lossy, faulty.

use std::time::{Duration, Instant};

use crate::stage::{HANGING, Setup, row};
use crate::support::pass;
use crate::support::wire::Fault;

const WHILE: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Setup {
        wires: true,
        slack: HANGING,
        ..Setup::default()
    }
}

/// Bytes stop without a FIN, as when a switch dies; the replica goes on.
#[test]
fn to_the_replica_is_half_open() {
    row("half-open link to the replica", setup(), |stage| {
        stage.wires()[0].cut();
        pass(WHILE);
        stage.wait_refused(100);
        stage.wires()[0].mend();
        stage.reads_back(Instant::now());
    });
}

#[test]
fn to_the_master_is_half_open() {
    row("half-open link to the master", setup(), |stage| {
        stage.wires()[1].cut();
        stage.wait_unwritten();
        pass(WHILE);
        stage.check_reads_unhurt();
        stage.wires()[1].mend();
        stage.writes_back(Instant::now());
        stage.check_reads_unhurt();
    });
}

/// Both links have the fault for some seconds, and are then as they were.
fn for_a_while(name: &'static str, fault: Fault) {
    row(name, setup(), |stage| {
        for wire in stage.wires() {
            wire.fault(fault);
        }
        pass(WHILE);
        for wire in stage.wires() {
            wire.mend();
        }
        let now = Instant::now();
        stage.reads_back(now);
        stage.writes_back(now);
    });
}

#[test]
fn is_slow() {
    let fault = Fault::Slow(Duration::from_millis(50));
    for_a_while("50 ms of delay each way", fault);
}

/// As TCP shows a lost packet: nothing for its shortest time to send again, then all of it.
#[test]
#[ignore = "run by make prove"]
fn loses_packets() {
    let fault = Fault::Stalls(Duration::from_millis(200));
    for_a_while("2 % of all pieces 200 ms late, as lost packets are", fault);
}

#[test]
fn brings_one_byte_at_a_time() {
    for_a_while("one byte at a time", Fault::Bytewise);
}

#[test]
fn resets_in_the_middle_of_replies() {
    for_a_while("reset in the middle of a reply, 1 in 40", Fault::Resets);
}
