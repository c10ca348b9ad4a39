//! A fault every minute, for as long as `SOAK_MINUTES` says (60): the same load and the same checker
//! as in every row, and what is left at the end is what was there at the beginning.

use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::signal::Signal;

use crate::record::write_line;
use crate::stage::{HANGING, Setup, Stage, run, wait_filled};
use crate::support::load::VERSIONS;
use crate::support::pass;
use crate::support::wire::Fault;

/// How long a fault lasts that does not end by itself.
const OUTAGE: Duration = Duration::from_secs(3);

/// Between two faults.
const MINUTE: Duration = Duration::from_secs(60);

/// The faults, in turn.
const FAULTS: [fn(&mut Stage); 10] = [
    |stage| {
        stage.replica.kill();
        stage.replica.restart();
        wait_filled(&stage.replica);
    },
    |stage| {
        stage.replica.freeze();
        pass(OUTAGE);
        stage.replica.thaw();
    },
    |stage| {
        stage.master.kill();
        stage.master.restart();
        wait_filled(&stage.replica);
    },
    |stage| {
        stage.master.freeze();
        pass(OUTAGE);
        stage.master.thaw();
    },
    |stage| wires(stage, Fault::Cut),
    |stage| wires(stage, Fault::Resets),
    |stage| wires(stage, Fault::Stalls(Duration::from_millis(200))),
    |stage| wires(stage, Fault::Bytewise),
    |stage| {
        for _ in 0..10 {
            stage.replica.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            stage.master.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            pass(Duration::from_millis(200));
        }
    },
    |stage| {
        let mut signal = |signal| {
            let pods = stage.pods.iter_mut();
            pods.for_each(|pod| pod.api.process().signal(signal));
        };
        signal(Signal::SIGSTOP);
        pass(OUTAGE);
        signal(Signal::SIGCONT);
    },
];

fn wires(stage: &Stage, fault: Fault) {
    for wire in stage.wires() {
        wire.fault(fault);
    }
    pass(OUTAGE);
    for wire in stage.wires() {
        wire.mend();
    }
}

fn resident_kib(stage: &mut Stage) -> u64 {
    let pods = stage.pods.iter_mut();
    pods.map(|pod| pod.api.process().resident_kib()).sum()
}

fn descriptors(stage: &mut Stage) -> usize {
    let count = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let pods = stage.pods.iter_mut();
    pods.map(|pod| count(pod.api.process().pid())).sum()
}

#[test]
#[ignore = "run by make soak"]
fn a_fault_every_minute() {
    let minutes = env::var("SOAK_MINUTES").ok();
    let minutes: u32 = minutes.map_or(60, |text| text.parse().expect("a number of minutes"));
    let versions = (MINUTE * (minutes + 2)) / VERSIONS;
    let setup = Setup {
        wires: true,
        slack: HANGING,
        hung: OUTAGE + Duration::from_secs(3),
        pauses: [
            versions.max(Duration::from_millis(100)),
            Duration::from_millis(100),
            Duration::from_millis(500),
        ],
        ..Setup::default()
    };
    let (mut resident, mut open) = ([0; 2], [0; 2]);
    let row = run("soak", setup, |stage| {
        resident[0] = resident_kib(stage);
        open[0] = descriptors(stage);
        let begun = Instant::now();
        for number in 0..minutes {
            pass((MINUTE * number).saturating_sub(begun.elapsed()));
            FAULTS[number as usize % FAULTS.len()](stage);
            let usable = Instant::now();
            stage.reads_back(usable);
            stage.writes_back(usable);
            let took = usable.elapsed();
            eprintln!("minute {number}: all is well again after {took:.1?}");
        }
        pass((MINUTE * minutes).saturating_sub(begun.elapsed()));
        resident[1] = resident_kib(stage);
        open[1] = descriptors(stage);
    });
    let head = "| six processes, a fault every minute |";
    let line = row.soak(head, resident, open);
    eprintln!("{line}");
    let [before, after] = open;
    assert!(after <= before + 12, "{before} descriptors, then {after}");
    write_line(head, &line);
}
