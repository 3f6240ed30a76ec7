//! The invariants, checked on an opened log. Its records count as acknowledged from then on, since a process may have
//! acted on them.

use super::expected::{Expected, Low, Records, block};
use headwater_log::partition::Partition;
use headwater_log::{CONTROL, Log, QUEUE};

pub fn check(log: &Log, expected: &mut Expected) -> Result<(), String> {
    for (number, (part, records)) in log.queue.iter().zip(&mut expected.queue).enumerate() {
        check_records(&part.partition(), records).map_err(|what| format!("part {number}: {what}"))?;
    }
    check_records(&log.control, &mut expected.control).map_err(|what| format!("control: {what}"))?;
    check_remap(log, expected).map_err(|what| format!("remap: {what}"))?;
    check_outputs(log, expected).map_err(|what| format!("outputs: {what}"))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn check_low(low: u64, expected: &mut Low) -> Result<(), String> {
    let Low { asked, reached } = *expected;
    ensure((reached..=asked).contains(&low), || format!("low watermark {low}, not from {reached} to {asked}"))?;
    expected.reached = low;
    Ok(())
}

fn check_records(partition: &Partition, records: &mut Records) -> Result<(), String> {
    let (low, durable) = (partition.low(), partition.durable());
    check_low(low, &mut records.low)?;
    let (acknowledged, appended) = (records.acknowledged, records.appended.len() as u64);
    ensure(durable >= acknowledged, || format!("{durable} records, but {acknowledged} were acknowledged"))?;
    ensure(durable <= appended, || format!("{durable} records, but {appended} were appended"))?;
    let mut next = low;
    let mut wrong = None;
    let mut reader = partition.reader();
    let read = reader.read(low, durable, |record| {
        let known = &mut records.appended[record.offset as usize];
        let found = known.iter().rposition(|(ms, payload)| *ms == record.received_ms && payload == record.payload);
        match found {
            Some(at) if record.offset >= acknowledged || at + 1 == known.len() => known.swap(0, at),
            _ => wrong = Some(record.offset),
        }
        known.truncate(1);
        if record.offset != next {
            wrong = Some(record.offset);
        }
        next += 1;
    });
    read.map_err(|error| error.to_string())?;
    ensure(next == durable, || format!("ends at {next} instead of {durable}"))?;
    if let Some(offset) = wrong {
        return Err(format!("record {offset} is not the one that was appended"));
    }
    // What is not there will never be.
    records.appended.truncate(durable as usize);
    records.acknowledged = durable;
    Ok(())
}

fn check_remap(log: &Log, expected: &mut Expected) -> Result<(), String> {
    let (low, next) = (log.remap.low(), log.remap.next());
    check_low(low, &mut expected.remap_low)?;
    let happened = expected.happened;
    ensure(next >= happened, || format!("{next} ticks, but {happened} have happened"))?;
    let mut reader = log.remap.reader();
    let mut before: Option<headwater_log::remap::Binding> = None;
    for tick in low..next {
        let binding = reader.binding(tick).map_err(|error| error.to_string())?;
        let asked = expected.ticks.get_mut(tick as usize).ok_or_else(|| format!("tick {tick} was never minted"))?;
        let found = (binding.now_ms, binding.uppers.clone());
        let right = if tick < happened { asked.last() == Some(&found) } else { asked.contains(&found) };
        ensure(right, || format!("tick {tick} is not what was minted"))?;
        *asked = vec![found];
        for ((source, part), upper) in &binding.uppers {
            let durable = match *source {
                QUEUE => log.queue[*part as usize].partition().durable(),
                CONTROL => log.control.durable(),
                _ => *upper,
            };
            ensure(*upper <= durable, || format!("tick {tick} takes part {part} to {upper}, durable is {durable}"))?;
        }
        if let Some(before) = &before {
            ensure(binding.previous == before.digest(), || format!("tick {tick} does not follow the one before"))?;
            ensure(binding.now_ms >= before.now_ms, || format!("tick {tick} goes back in time"))?;
        } else if next > 0 {
            // What the first tick that can be replayed takes has to be there.
            for (number, part) in (0..).zip(&log.queue) {
                let upper = binding.uppers[&(QUEUE, number)];
                ensure(part.partition().low() <= upper, || format!("part {number} begins behind {upper}"))?;
            }
        }
        before = Some(binding);
    }
    expected.ticks.truncate(next as usize);
    expected.happened = next;
    Ok(())
}

fn check_outputs(log: &Log, expected: &mut Expected) -> Result<(), String> {
    let (oldest, upper) = (log.outputs.oldest(), log.outputs.upper());
    ensure(upper >= expected.upper, || format!("ends at {upper}, but {} were published", expected.upper))?;
    ensure(upper <= expected.happened, || format!("tick {upper} has not happened"))?;
    expected.output_low.asked = expected.output_low.asked.max(expected.output_low.reached);
    check_low(oldest, &mut expected.output_low)?;
    let mut reader = log.remap.reader();
    for tick in oldest..upper {
        let blocks = log.outputs.read(tick).map_err(|error| error.to_string())?;
        let workers = *expected.published.entry(tick).or_insert(blocks.len());
        ensure(workers == blocks.len(), || format!("tick {tick} has {} workers, not {workers}", blocks.len()))?;
        for (worker, found) in blocks.iter().enumerate() {
            let now_ms = if tick < log.remap.low() {
                found.now_ms
            } else {
                reader.binding(tick).map_err(|error| error.to_string())?.now_ms
            };
            let right = *found == block(tick, now_ms, worker, workers);
            ensure(right, || format!("the block of worker {worker} of tick {tick} is not the one that was written"))?;
        }
    }
    ensure(log.outputs.read(upper).is_err(), || format!("tick {upper} is read and is not whole"))?;
    expected.upper = upper;
    Ok(())
}
