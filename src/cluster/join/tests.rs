//! Hosts that come together in one process, over real sockets.

use super::*;
use crate::patience::PATIENCE;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

/// The plans of as many hosts, at ports that no other test has.
fn hosts(number: usize) -> Vec<Arc<HostsPlan>> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let address = Ipv4Addr::new(127, 1 + (std::process::id() % 250) as u8, 128 | high, low);
    let free = |_| std::net::TcpListener::bind((address, 0)).unwrap();
    // All at once, so that none is given twice.
    let listeners: Vec<_> = (0..number).map(free).collect();
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let plan = |own| HostsPlan {
        addresses: addresses.clone(),
        own,
        key: [3; 32],
        list: [1; 32],
        program: [2; 32],
        workers: 1,
    };
    (0..number).map(|own| Arc::new(plan(own))).collect()
}

fn start(plan: &Arc<HostsPlan>) -> JoinHandle<Joined> {
    let plan = Arc::clone(plan);
    std::thread::spawn(move || {
        let gate = Gate::open(&plan).unwrap();
        if plan.own == 0 { lead(&plan, gate, 7).unwrap() } else { follow(&plan, gate).unwrap() }
    })
}

/// Each host says a byte of its own to each other one, on each connection.
fn all_hear_each_other(joined: &mut [Joined]) {
    let places = 0..joined.len();
    for (from, to) in places.clone().flat_map(|from| places.clone().map(move |to| (from, to))) {
        if from == to {
            assert!(joined[from].mesh[to].is_none() && joined[from].links[to].is_none());
            continue;
        }
        let byte = [(10 * from + to) as u8];
        let mut heard = [0];
        joined[from].mesh[to].as_mut().unwrap().write_all(&byte).unwrap();
        joined[to].mesh[from].as_mut().unwrap().read_exact(&mut heard).unwrap();
        assert_eq!(heard, byte);
        assert_eq!(joined[from].links[to].is_some(), from == 0 || to == 0);
        if from == 0 {
            for (link, files) in [(true, false), (false, true)] {
                let [leads, follows] = joined.get_disjoint_mut([from, to]).unwrap();
                if link {
                    leads.links[to].as_mut().unwrap().write_all(&byte).unwrap();
                    follows.links[0].as_mut().unwrap().read_exact(&mut heard).unwrap();
                }
                if files {
                    follows.files[0].as_mut().unwrap().write_all(&byte).unwrap();
                    leads.files[to].as_mut().unwrap().read_exact(&mut heard).unwrap();
                }
                assert_eq!(heard, byte);
            }
        }
    }
}

#[test]
fn hosts_come_together_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let plans = hosts(3);
        let mut started: Vec<Option<JoinHandle<Joined>>> = (0..3).map(|_| None).collect();
        for place in order {
            started[place] = Some(start(&plans[place]));
            // Long enough that the others ask for it at least once.
            thread::sleep(2 * AGAIN);
        }
        let mut joined: Vec<Joined> = started.into_iter().map(|host| host.unwrap().join().unwrap()).collect();
        all_hear_each_other(&mut joined);
    }
}

#[test]
fn a_host_that_leaves_before_all_are_there_may_come_back() {
    let plans = hosts(3);
    let leads = start(&plans[0]);
    // It links, and is gone; twice, so that the second one takes the place of the first.
    for _ in 0..2 {
        drop(call(&plans[1]));
    }
    let mut joined = vec![start(&plans[1]), start(&plans[2])];
    joined.insert(0, leads);
    let mut joined: Vec<Joined> = joined.into_iter().map(|host| host.join().unwrap()).collect();
    all_hear_each_other(&mut joined);
}

#[test]
fn scans_garbage_and_silent_clients_do_not_keep_hosts_apart() {
    let plans = hosts(3);
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let started: Vec<_> = plans[..2].iter().map(start).collect();
    let attack = |place: usize| {
        let (address, over) = (plans[place].addresses[place].clone(), Arc::clone(&over));
        std::thread::spawn(move || {
            let (mut silent, mut number) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                let Ok(mut client) = TcpStream::connect(&address) else { continue };
                number += 1;
                match number % 4 {
                    // A scan closes at once.
                    0 => {}
                    1 => drop(client.write_all(b"GET / HTTP/1.1\r\n\r\n")),
                    2 => drop(client.write_all(&[&b"HWHOST\x01\x00\x00\x08"[..], &[0xff; 4000]].concat())),
                    _ => silent.push(client),
                }
                silent.drain(..silent.len().saturating_sub(100));
                thread::sleep(Duration::from_millis(1));
            }
            number
        })
    };
    let attacks: Vec<_> = (0..2).map(attack).collect();
    // The attacks run for a while before the last host comes.
    thread::sleep(Duration::from_secs(1));
    let mut joined: Vec<Joined> =
        started.into_iter().chain([start(&plans[2])]).map(|host| host.join().unwrap()).collect();
    all_hear_each_other(&mut joined);
    over.store(true, Ordering::Relaxed);
    assert!(attacks.into_iter().all(|attack| attack.join().unwrap() > 0));
}

#[test]
fn a_host_of_another_generation_or_too_late_is_refused_and_says_why() {
    let plans = hosts(2);
    let mut joined: Vec<Joined> =
        plans.iter().map(start).collect::<Vec<_>>().into_iter().map(|host| host.join().unwrap()).collect();
    all_hear_each_other(&mut joined);
    // The hosts work: a second host 2, and a zombie of an earlier generation.
    for (purpose, generation) in [(Purpose::Link, (0, 0)), (Purpose::Mesh, (7, 1)), (Purpose::Files, (6, 1))] {
        let error = dial(&plans[1], 0, purpose, generation).unwrap_err();
        assert!(error.to_string().contains("the hosts work, and host 2 among them"), "{error}");
    }
    let gate = joined[0].gate.take().unwrap();
    gate.enter(Stage::Joins { epoch: 8, round: 2 });
    let error = dial(&plans[1], 0, Purpose::Mesh, (7, 1)).unwrap_err();
    assert!(error.to_string().contains("generation 7.1 of the run is over: this host is in 8.2"), "{error}");
    // The one of this generation comes through.
    let ours = dial(&plans[1], 0, Purpose::Mesh, (8, 2)).unwrap();
    let (hello, _) = gate.arrivals.recv_timeout(PATIENCE).unwrap();
    assert_eq!((hello.from, hello.purpose, hello.epoch, hello.round), (1, Purpose::Mesh, 8, 2));
    gate.enter(Stage::Waits);
    assert!(dial(&plans[1], 0, Purpose::Link, (0, 0)).unwrap_err().to_string().contains("does not lead"));
    drop(ours);
}

#[test]
fn a_round_in_which_a_host_goes_away_is_followed_by_another_one() {
    let plans = hosts(3);
    let (leads, second) = (start(&plans[0]), start(&plans[1]));
    // It hears of the generation, and connects to no other host.
    let link = call(&plans[2]);
    assert_eq!(hear_generation(link.clone()).unwrap(), (7, 1));
    drop(link);
    let third = start(&plans[2]);
    let mut joined: Vec<Joined> = [leads, second, third].into_iter().map(|host| host.join().unwrap()).collect();
    all_hear_each_other(&mut joined);
    // A connection of the round before would be refused.
    let error = dial(&plans[2], 0, Purpose::Mesh, (7, 1)).unwrap_err();
    assert!(error.to_string().contains("the hosts work"), "{error}");
}
