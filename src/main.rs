//! The thin binary: parses the command line, runs a verb, prints its outcome.

use dataflows::EventTime;
use headwater::cli::{self, Cli, Explain, Replay, RulesVerb, Verb};
use headwater::config::Overrides;
use headwater::error::{self, Error};
use headwater::generate::{generate, workload::Workload};
use headwater::inspect::outline::Outline;
use headwater::inspect::{doctor, explain, init, rules};
use headwater::observe::actions::ActionReport;
use headwater::observe::backfills::BackfillReport;
use headwater::observe::forgets::ForgetReport;
use headwater::observe::status::{Phase, Report};
use headwater::plan::{HostsPlan, Plan};
use headwater::run::{self, supervise};
use headwater::text::progress::ProgressMode;
use headwater::{backfill, cases, config, ending, forget, replay, text};
use headwater_decode::guard;
use headwater_decode::interpret::Range;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "this is the binary")]
    ending::ends_by(|code| std::process::exit(code));
    exit_on_panic();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let outcome = match &cli.verb {
        Verb::Replay(verb) => run_replay(verb),
        Verb::Run(verb) => return run_live(verb),
        Verb::Backfill(verb) => run_backfill(verb),
        Verb::Forget(verb) => run_forget(verb),
        Verb::Subscribe(verb) => run_subscribe(verb).map(|()| String::new()),
        Verb::Peek(verb) => run_peek(verb).map(|()| String::new()),
        Verb::Funnel(verb) => run_funnel(verb),
        Verb::Status(verb) => return reported(run_status(verb)),
        Verb::Actions(verb) => run_actions(verb),
        Verb::Doctor(verb) => return reported(run_doctor(verb)),
        Verb::Plan(verb) => run_plan(verb),
        Verb::Explain(verb) => run_explain(verb),
        Verb::Init(verb) => run_init(verb),
        Verb::Test(verb) => return reported(run_test(verb)),
        Verb::Rules(cli::Rules { verb: RulesVerb::Diff(verb) }) => run_rules_diff(verb),
        Verb::Rules(cli::Rules { verb: RulesVerb::Propose(verb) }) => {
            verb.plan().map_err(Error::from).and_then(|plan| rules::propose(&plan))
        }
        Verb::Rules(cli::Rules { verb: RulesVerb::Apply(verb) }) => verb.run(),
        Verb::Rules(cli::Rules { verb: RulesVerb::List(verb) }) => verb.run(),
        Verb::Rules(cli::Rules { verb: RulesVerb::Show(verb) }) => verb.run(),
        Verb::Rules(cli::Rules { verb: RulesVerb::Rollback(verb) }) => verb.run(),
        Verb::Label(verb) => verb.run(),
        Verb::Generate(workload) => run_generate(workload),
        Verb::Completions(verb) => Ok(verb.script()),
    };
    match outcome.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(error),
    }
}

/// Returns the exit code of verbs that examine something: 1 if it is not well.
fn reported(outcome: Result<(String, bool), Error>) -> ExitCode {
    match outcome.and_then(|(text, well)| print(&text).map(|()| well)) {
        Ok(well) => ExitCode::from(u8::from(!well)),
        Err(error) => report(error),
    }
}

fn report(error: Error) -> ExitCode {
    let code = error.exit_code();
    eprintln!("{}", error::shown(error));
    ExitCode::from(code)
}

/// Acts as the supervisor if this is the process that was started.
fn run_live(verb: &cli::Run) -> ExitCode {
    let plan = || -> Result<(Arc<Plan>, Option<Arc<HostsPlan>>), Error> {
        let mut plan = config::load(&verb.config, &verb.overrides())?;
        if let Some(dir) = &verb.data_dir {
            plan.data_dir.clone_from(dir);
        }
        if let (Some(listen), Err(help)) = (&verb.listen, config::check_listen(&plan.http)) {
            return Err(Error::usage(format!("cannot listen on `{listen}`"), help));
        }
        let hosts = hosts(verb, &mut plan)?;
        run::check(&plan)?;
        Ok((Arc::new(plan), hosts))
    };
    let (plan, hosts) = match plan() {
        Ok(plan) => plan,
        Err(error) => return report(error),
    };
    supervise::log_lines(verb.log_json);
    if !supervise::is_supervised() && (plan.own_processes() > 1 || !verb.no_restart) {
        return supervise::supervise(plan.own_processes(), verb.no_restart).unwrap_or_else(report);
    }
    supervise::end_with_parent();
    run::run(&plan, hosts).map_or_else(report, |()| ExitCode::SUCCESS)
}

/// Returns the hosts of a run on several, each of which has one process.
fn hosts(verb: &cli::Run, plan: &mut Plan) -> Result<Option<Arc<HostsPlan>>, Error> {
    let Some(files) = &plan.hosts else {
        return match (verb.host, &verb.key) {
            (None, None) => Ok(None),
            _ => Err(Error::usage(
                "--host and --key are for a run on several hosts",
                "name the file of hosts with --hosts",
            )),
        };
    };
    if verb.processes.is_some_and(|processes| processes > 1) {
        let help = "leave --processes out, and give each host more --workers";
        return Err(Error::usage("several hosts have one process each, and the configuration names several", help));
    }
    let hosts = config::hosts::load(plan, files, verb.host.map(usize::from))?;
    plan.processes = hosts.addresses.len();
    Ok((plan.processes > 1).then(|| Arc::new(hosts)))
}

fn run_backfill(verb: &cli::Backfill) -> Result<String, Error> {
    let token = verb.token.as_deref();
    let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
    let plan = (!verb.is_url()).then(|| config::load(verb.target.as_ref(), &overrides)).transpose()?;
    let url = match (&verb.url, &plan) {
        (Some(url), _) => url.clone(),
        (None, Some(plan)) => backfill::url_of(plan)?,
        (None, None) => verb.target.clone(),
    };
    let printed = |text: serde_json::Result<String>| text.map(json).map_err(Error::run("print the backfill"));
    if let Some(act) = verb.act {
        let reports = match act.word() {
            None => backfill::status(&url, token, verb.name.as_deref())?,
            Some(word) => vec![backfill::change(&url, token, verb.name.as_deref(), word)?],
        };
        return match verb.json {
            true => printed(serde_json::to_string_pretty(&reports)),
            false if reports.is_empty() => Ok("no backfills\n".into()),
            false => Ok(reports.iter().map(BackfillReport::render).collect()),
        };
    }
    if verb.files.is_empty() {
        return Err(Error::usage("no files", "name files, folders or globs, or one of status, pause, resume"));
    }
    let Some(plan) = plan else {
        let help = "name the configuration of the run, and with --url where it is";
        return Err(Error::usage("files are read as a configuration says, and a URL is none", help));
    };
    let options = backfill::Options {
        name: verb.name.clone().unwrap_or_else(|| "history".into()),
        source: verb.source.clone(),
        files: verb.files.clone(),
        range: Range { from: verb.from, to: verb.to },
        rate: verb.rate.map(f64::from),
        share: f64::from(verb.share) / 100.0,
        url,
        token: verb.token.clone(),
        progress: ProgressMode::detect(verb.json || verb.no_progress),
    };
    let (report, seconds) = backfill::bring(&plan, &options)?;
    match verb.json {
        true => printed(serde_json::to_string_pretty(&report)),
        false => Ok(backfill::render(&report, seconds)),
    }
}

fn run_forget(verb: &cli::Forget) -> Result<String, Error> {
    let token = verb.token.as_deref();
    let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
    let url = match &verb.url {
        Some(url) => url.clone(),
        None if verb.is_url() => verb.target.clone(),
        None => backfill::url_of(&config::load(verb.target.as_ref(), &overrides)?)?,
    };
    let printed = |text: serde_json::Result<String>| text.map(json).map_err(Error::run("print the receipt"));
    let Some(user) = &verb.user else {
        let reports = forget::client::list(&url, token)?;
        return match verb.json {
            true => printed(serde_json::to_string_pretty(&reports)),
            false if reports.is_empty() => Ok("no users were forgotten\n".into()),
            false => Ok(reports.iter().map(ForgetReport::render).collect()),
        };
    };
    if user.is_empty() {
        return Err(Error::usage("the user is empty", "name the user as events do"));
    }
    let report = forget::client::forget(&url, token, user, verb.reason.as_deref(), verb.partial)?;
    match verb.json {
        true => printed(serde_json::to_string_pretty(&report)),
        false => Ok(report.render()),
    }
}

fn run_subscribe(verb: &cli::Subscribe) -> Result<(), Error> {
    cli::print::subscribe(verb.wanted(), verb.as_lines(), verb.resume_file.as_deref())
}

fn run_peek(verb: &cli::Peek) -> Result<(), Error> {
    let (url, token) = (&verb.server.url, verb.server.token.as_deref());
    cli::print::rows(url, token, &verb.collection, &verb.query(), verb.json)
}

fn run_funnel(verb: &cli::Funnel) -> Result<String, Error> {
    let (url, token) = (&verb.server.url, verb.server.token.as_deref());
    let (filter, wait_for) = (verb.filter.as_deref(), verb.wait_for.as_deref());
    let funnel = cli::print::funnel(url, token, &verb.sequence, filter, wait_for)?;
    match verb.json {
        true => serde_json::to_string_pretty(&funnel).map(json).map_err(Error::run("print the funnel")),
        false => Ok(funnel.render(text::wants_color())),
    }
}

fn run_status(verb: &cli::Status) -> Result<(String, bool), Error> {
    let url = &verb.server.url;
    let report: Report = headwater_client::status(url, verb.server.token.as_deref())
        .map_err(Error::run(format!("ask {url} for its status")))?;
    let text = match verb.json {
        true => json(serde_json::to_string_pretty(&report).map_err(Error::run("print the status"))?),
        false => report.render(),
    };
    Ok((text, report.phase == Phase::Ready))
}

fn run_actions(verb: &cli::Actions) -> Result<String, Error> {
    let url = &verb.server.url;
    let asked = headwater_client::status(url, verb.server.token.as_deref());
    let report: Report = asked.map_err(Error::run(format!("ask {url} for its actions")))?;
    let wanted = |action: &ActionReport| verb.name.as_ref().is_none_or(|name| *name == action.name);
    let actions: Vec<&ActionReport> = report.actions.iter().filter(|action| wanted(action)).collect();
    if let (Some(name), true) = (&verb.name, actions.is_empty()) {
        return Err(Error::run("show the action")(format!("{url} has no action `{name}`")));
    }
    Ok(match verb.json {
        true => json(serde_json::to_string_pretty(&actions).map_err(Error::run("print the actions"))?),
        false if actions.is_empty() => format!("{url} has no actions\n"),
        false => actions.iter().map(|action| action.render_whole()).collect(),
    })
}

fn run_doctor(verb: &cli::Doctor) -> Result<(String, bool), Error> {
    let report = doctor::examine(&verb.folder)?;
    let text = match verb.json {
        true => json(report.json().map_err(Error::run("print the report"))?),
        false => report.render(text::wants_color()),
    };
    Ok((text, report.is_whole()))
}

fn run_replay(verb: &Replay) -> Result<String, Error> {
    let job = &verb.job;
    // A landing has the events of all sources of a run.
    let plan = Arc::new(job.plan(&Overrides { live: verb.landing, ..job.overrides() })?);
    let options = replay::Options {
        range: Range { from: verb.from, to: verb.to },
        now: verb.now,
        latest: tomorrow(),
        out: job.out.clone().unwrap_or_else(|| plan.data_dir.clone()),
        format: job.format,
        progress: ProgressMode::detect(verb.json || verb.no_progress),
        events: verb.events,
        landing: verb.landing,
    };
    let summary = replay::replay(&plan, &options)?;
    match verb.json {
        true => summary.json().map(json).map_err(Error::run("print the summary")),
        false => Ok(summary.render(text::wants_color())),
    }
}

/// Returns the latest event time that can be expected: a day from now.
fn tomorrow() -> Option<EventTime> {
    const DAY: u64 = 86_400;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    EventTime::from_micros(i64::try_from((now + Duration::from_secs(DAY)).as_micros()).ok()?)
}

fn run_plan(verb: &cli::Plan) -> Result<String, Error> {
    let job = &verb.job;
    // What only a run could read is shown too.
    let plan = job.plan(&Overrides { live: true, ..job.overrides() })?;
    let outline = Outline::of(&plan, !job.files.is_empty(), job.out.as_deref(), job.format)?;
    match verb.json {
        true => outline.json().map(json).map_err(Error::run("print the plan")),
        false => Ok(outline.render(text::wants_color())),
    }
}

fn run_init(verb: &cli::Init) -> Result<String, Error> {
    let (first, others) = verb.files.split_first().ok_or_else(|| Error::usage("no files", "name at least one"))?;
    let plan = config::built_in(first, &Overrides { files: others.to_vec(), ..Overrides::default() })?;
    let given: Vec<String> = verb.files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
    init::init(&plan, &given)
}

fn run_rules_diff(verb: &cli::RulesDiff) -> Result<String, Error> {
    let plan = config::load(&verb.config, &verb.overrides())?;
    let difference = rules::diff(&plan, &verb.rules, verb.landing)?;
    match verb.json {
        true => difference.json().map(json).map_err(Error::run("print the difference")),
        false => Ok(difference.render(text::wants_color())),
    }
}

fn run_test(verb: &cli::Test) -> Result<(String, bool), Error> {
    let report = cases::test(&verb.files, verb.only.as_deref())?;
    if let Some(junit) = &verb.junit {
        std::fs::write(junit, report.junit()).map_err(Error::run(format!("write {}", junit.display())))?;
    }
    Ok((report.render(text::wants_color()), report.is_passed()))
}

fn run_generate(workload: &Workload) -> Result<String, Error> {
    let generated = generate(workload, ProgressMode::detect(workload.no_progress))?;
    Ok(generated.render())
}

fn run_explain(verb: &Explain) -> Result<String, Error> {
    let plan = Arc::new(config::load(&verb.config, &verb.overrides())?);
    let mut bytes = Vec::new();
    let read = match verb.event.as_os_str() == "-" {
        true => std::io::stdin().read_to_end(&mut bytes).map(|_| ()),
        false => std::fs::read(&verb.event).map(|content| bytes = content),
    };
    read.map_err(Error::run(format!("read {}", verb.event.display())))?;
    if verb.learned && !plan.learn {
        let message = format!("{} learns no classes", verb.config.display());
        return Err(Error::usage(message, "set learn = true in [classes], or leave out --learned"));
    }
    let learned = if verb.learned { explain::Learned::of(&plan, verb.landing)? } else { None };
    explain::explain(&plan, verb.source.as_deref(), &bytes, learned, text::wants_color())
}

/// Names within it may hold what steers a terminal.
fn json(text: String) -> String {
    text::printable_json(&text).into_owned() + "\n"
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough: `headwater … | head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(Error::run("print")),
    }
}

/// Ends the process when a worker panics: with timely alone, the other workers would wait for ever. Guarded calls go
/// on.
fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if guard::is_guarded() {
            // One input may cause this many times, and each one is reported elsewhere.
            static FIRST: Once = Once::new();
            return FIRST.call_once(|| report(panic));
        }
        if panic.payload_as_str().is_some_and(|message| message.starts_with("timely communication error")) {
            tracing::error!("another process of this run has ended: this one ends");
            ending::end(error::EXIT_AGAIN);
        }
        cli::print::restore_terminal();
        report(panic);
        ending::end(101);
    }));
}
