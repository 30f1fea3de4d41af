use super::*;

fn host() -> Host {
    let hardening = Hardening { memory: MemoryLock::Locked, removed_variables: Vec::new(), open_files: 64 };
    Host { state_dir: "/state".into(), owners: Owners::root_and(0), hardening }
}

#[test]
fn only_a_kernel_that_proves_callers_is_good() {
    for (release, standing) in [
        ("6.5.0-1-amd64\n", Standing::Ok),
        ("6.12.9+deb13\n", Standing::Ok),
        ("7.0.1", Standing::Ok),
        ("6.4.16", Standing::Problem),
        ("5.15.0-91-generic", Standing::Problem),
        ("linux", Standing::NotChecked),
    ] {
        assert_eq!(kernel(Some(release)).standing, standing, "{release}");
    }
    assert_eq!(kernel(None).standing, Standing::NotChecked);
}

#[test]
fn state_that_is_far_away_or_forgets_is_a_problem() {
    for (kind, standing) in [
        (0xef53_i64, Standing::Ok),
        (0x5846_5342, Standing::Ok),
        (0x6969, Standing::Problem),
        (0xff53_4d42, Standing::Problem),
        (0x0102_1994, Standing::Problem),
    ] {
        assert_eq!(state_place(Ok(kind), &host()).standing, standing, "{kind:x}");
    }
    assert_eq!(state_place(Err::<i64, _>("gone".to_owned()), &host()).standing, Standing::NotChecked);
}

#[test]
fn memory_may_stay_unlocked_only_where_nothing_can_swap_it() {
    let low = MemoryLock::LimitTooLow { limit: 8 };
    let head = "Filename Type Size Used Priority\n";
    let swap = format!("{head}/dev/sda2 partition 1 0 -2\n");
    assert_eq!(memory(&MemoryLock::Locked, Some(&swap)).standing, Standing::Ok);
    assert_eq!(memory(&low, Some(head)).standing, Standing::Ok);
    assert_eq!(memory(&low, Some(&swap)).standing, Standing::Warning);
    assert_eq!(memory(&low, None).standing, Standing::NotChecked);
}

#[test]
fn mapped_ids_dumps_and_hidden_processes_are_problems() {
    let identity = || Some("         0          0 4294967295\n".to_owned());
    assert_eq!(id_maps([identity(), identity()]).standing, Standing::Ok);
    assert_eq!(id_maps([identity(), Some("0 1000 1".to_owned())]).standing, Standing::Problem);
    assert_eq!(id_maps([identity(), None]).standing, Standing::NotChecked);
    assert_eq!(core_dumps(Some(DumpableBehavior::NotDumpable), Some(0)).standing, Standing::Ok);
    assert_eq!(core_dumps(Some(DumpableBehavior::Dumpable), Some(0)).standing, Standing::Problem);
    assert_eq!(core_dumps(Some(DumpableBehavior::NotDumpable), None).standing, Standing::Problem);
    assert_eq!(others_visible(Err(ProcessError::Gone(1))).standing, Standing::Problem);
    assert_eq!(others_visible(Ok(())).standing, Standing::Ok);
}
