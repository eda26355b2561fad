package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zeropass.dev/zeropass/internal/load"
)

// run is one server over an empty database, while it is measured.
type run struct {
	*load.Population
	ctx      context.Context
	prefix   string // of the names of its figures
	accounts int
	clients  int
	duration time.Duration
	database *load.Postgres // nil over SQLite
	report   *report
	say      progress

	profile string                       // where profiles are written, if that was asked for
	restart func() (*load.Server, error) // over the same data
}

// step is one thing that is measured.
type step struct {
	says     string
	do       func() error
	restarts bool // the server, so that there is no profile of it
}

// all measures everything, in the order of the report.
func (r *run) all() error {
	for _, s := range []step{
		{says: "growing", do: r.grow},
		{says: "reveals", do: r.reveals},
		{says: "reveals that another device confirms", do: r.confirmed},
		{says: "reveals at fixed rates", do: r.overload},
		{says: "backups", do: r.backups},
		{says: "syncs", do: r.syncs},
		{says: "recoveries", do: r.recoveries},
		{says: "memory", do: r.memory},
		{says: "accounts that are not in memory", do: r.cold, restarts: true},
	} {
		r.say.say("%s: %s", r.prefix, s.says)
		profiled := r.profiled(s)
		if err := errors.Join(s.do(), profiled()); err != nil {
			return err
		}
	}
	return nil
}

// profiled takes a profile of the server until what it returns is called, if that was
// asked for.
func (r *run) profiled(s step) (end func() error) {
	if r.profile == "" || s.restarts {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			var taken bytes.Buffer
			if err := r.Population.Profile(ctx, &taken, 1); err != nil {
				if ctx.Err() != nil {
					err = nil // the last one is not whole
				}
				ended <- err
				return
			}
			name := fmt.Sprintf("%s-%s-%d.pprof", r.prefix, strings.ReplaceAll(s.says, " ", "-"), i)
			if err := os.WriteFile(filepath.Join(r.profile, name), taken.Bytes(), 0o600); err != nil {
				ended <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

func (r *run) add(name, says string, value float64, unit string) {
	r.report.add(r.prefix, name, says, value, unit)
}

// target adds a ratio that the project has promised to keep below a bound.
func (r *run) target(name, says string, value, most float64) {
	r.report.target(r.prefix, name, says, value, most)
}

// sizes at which the throughput of reveals is compared.
var sizes = []int{100, 1_000, 10_000, 100_000, 1_000_000}

// grow makes the accounts, and reveals some of their secrets on the way: what that
// costs the server depends on how much of it stays in the processor's caches.
func (r *run) grow() error {
	var least, most float64
	var made load.Result
	for _, size := range append(sizes, r.accounts) {
		if size > r.accounts || size == len(r.Accounts) {
			continue
		}
		grown, err := r.Measure(r.ctx, size-len(r.Accounts), func() error {
			return r.Grow(r.ctx, size, func(n int) { r.say.say("%s: %d of %d accounts", r.prefix, n, r.accounts) })
		})
		if err != nil {
			return err
		}
		made.Add(grown)
		result, err := r.beside(false, size, false, r.Reveal)
		if err != nil {
			return err
		}
		rate := result.PerSecond()
		if most == 0 {
			least, most = rate, rate
		}
		least, most = min(least, rate), max(most, rate)
		r.add(figureName("reveal_rate_at", size), "reveals at "+grouped(size)+" accounts", rate, "1/s")
		r.add(figureName("reveal_cpu_ratio_at", size), "server CPU / bare curve operations at "+grouped(size)+" accounts", ratio(result.CPUPerTask(), result.Curve.Of(load.RevealAlone)), "")
	}
	r.target("flat", "reveals per second from 100 accounts on, most / least", most/max(least, 1e-3), 1.25)
	r.report.of(r.prefix, "create", "account with one secret", "rate", "in a second", made.PerSecond(), "1/s")
	r.costs("create", "account with one secret", &made)
	return nil
}

func (r *run) reveals() error {
	result, err := r.beside(true, len(r.Accounts), false, r.Reveal)
	if err != nil {
		return err
	}
	r.latencies("reveal", "reveal", result)
	r.costs("reveal", "reveal", result)
	r.add("curve_sign", "one signature", micros(result.Curve.Sign), "µs")
	r.add("curve_verify", "one verification", micros(result.Curve.Verify), "µs")
	r.add("curve_seal", "one sealing", micros(result.Curve.Seal), "µs")
	operations := result.Curve.Of(load.RevealAlone)
	r.add("reveal_curve", "bare curve operations of a reveal", micros(operations), "µs")
	r.target("reveal_cpu_ratio", "server CPU per reveal / its bare curve operations", ratio(result.CPUPerTask(), operations), 1.5)
	r.target("reveal_commits_each", "durable commits per reveal", result.CommitsPerTask(), 0.3)
	return nil
}

func (r *run) confirmed() error {
	if err := r.GrowPairs(r.ctx, max(r.clients, min(r.accounts/10, 1000))); err != nil {
		return err
	}
	// A device that has asked waits for its answer, and asks nothing else meanwhile.
	result, err := r.beside(true, len(r.Pairs), true, r.RevealConfirmed)
	if err != nil {
		return err
	}
	const operation = "reveal, another device confirms, 4 requests"
	r.latencies("confirmed", operation, result)
	r.costs("confirmed", operation, result)
	operations := result.Curve.Of(load.RevealConfirmed)
	r.add("confirmed_curve", "bare curve operations of a reveal that another device confirms", micros(operations), "µs")
	r.target("confirmed_cpu_ratio", "the same CPU ratio where another device confirms", ratio(result.CPUPerTask(), operations), 1.5)
	return nil
}

// beside is closed with the bare curve operations measured beside it, and if exact with
// an exact count of PostgreSQL's commits, unless the runs are too short for one to
// matter.
func (r *run) beside(exact bool, size int, once bool, make func(int) (load.Task, error)) (*load.Result, error) {
	tasks, err := r.enough(size, once, make)
	if err != nil {
		return nil, err
	}
	r.Bare(true)
	r.Exact(exact && r.duration >= 3*time.Second)
	defer func() { r.Bare(false); r.Exact(false) }()
	return r.Closed(r.ctx, tasks, r.clients, r.duration)
}

// overloadTime is how long overload lasts: longer than other runs, so that those who
// wait when it begins are not one in a hundred.
func (r *run) overloadTime() time.Duration { return min(6*r.duration, 30*time.Second) }

// overload sends reveals at half of what the server can do, and at twice that.
func (r *run) overload() error {
	capacity, ok := r.report.value(r.prefix, "reveal_rate")
	if !ok {
		return nil
	}
	var p99 [2]time.Duration
	for i, load := range []struct {
		name, says string
		factor     float64
	}{{"half", "reveal at half the capacity", 0.5}, {"twice", "reveal at twice the capacity", 2}} {
		tasks, err := r.sign(int(capacity*load.factor*r.overloadTime().Seconds()), len(r.Accounts), r.Reveal)
		if err != nil {
			return err
		}
		result, err := r.Open(r.ctx, tasks, capacity*load.factor)
		if err != nil {
			return err
		}
		r.latencies(load.name, load.says, result)
		r.add(load.name+"_late", load.says+": sent late by the load itself, p99", millis(result.Late(99)), "ms")
		p99[i] = result.Percentile(99)
	}
	r.target("overload", "p99 at twice the capacity / p99 at half", ratio(p99[1], p99[0]), 3)
	return nil
}

func (r *run) backups() error { return r.simple("backup", "backup of a secret", true, r.Backup) }
func (r *run) syncs() error {
	return r.simple("sync", "sync of a new device, 6 requests", false, r.Sync)
}

func (r *run) simple(name, says string, once bool, make func(int) (load.Task, error)) error {
	result, err := r.closed(len(r.Accounts), once, make)
	if err != nil {
		return err
	}
	r.latencies(name, says, result)
	r.costs(name, says, result)
	return nil
}

// recoveries loses accounts and recovers them, with the shortest waiting period.
func (r *run) recoveries() error {
	count := max(r.clients, min(r.accounts/10, 200))
	if err := r.GrowLost(r.ctx, count); err != nil {
		return err
	}
	for i, phase := range []struct {
		name, says string
		make       func(int) (load.Task, error)
	}{
		{"recovery_start", "recovery: asked and approved, 5 requests", r.Start},
		{"recovery_release", "recovery: released, 2 requests", r.Release},
		{"recovery_end", "recovery: taken over, 1 request", func(i int) (load.Task, error) { return r.TakeOver(r.ctx, i) }},
	} {
		if i == 1 {
			time.Sleep(load.WaitingPeriod)
		}
		tasks, err := r.sign(count, count, phase.make)
		if err != nil {
			return err
		}
		result, err := r.All(r.ctx, tasks, r.clients)
		if err != nil {
			return err
		}
		r.latencies(phase.name, phase.says, result)
		r.costs(phase.name, phase.says, result)
	}
	return nil
}

// memory adds how much the server has after all of this.
func (r *run) memory() error {
	metrics, err := r.Metrics(r.ctx)
	if err != nil {
		return err
	}
	r.add("memory", "resident memory of the server", metrics["process_resident_memory_bytes"]/(1<<20), "MiB")
	return nil
}

// secretsOfLarge is how many secrets somebody has who has used a password manager
// for years.
const secretsOfLarge = 200

// cold reveals secrets of accounts that the server has to read and fold first.
func (r *run) cold() error {
	count := max(4, min(r.accounts/100, 50))
	if err := r.GrowLarge(r.ctx, count, secretsOfLarge); err != nil {
		return err
	}
	s, err := r.restart()
	if err != nil {
		return err
	}
	if err := r.Restarted(s); err != nil {
		return err
	}
	tasks, err := r.sign(count, count, r.RevealLarge)
	if err != nil {
		return err
	}
	result, err := r.All(r.ctx, tasks, 1)
	if err != nil {
		return err
	}
	says := fmt.Sprintf("reveal, %d secrets, not in memory", secretsOfLarge)
	r.latencies("cold", says, result)
	r.costs("cold", says, result)
	return nil
}

// sign makes tasks of things, spread over all of them.
func (r *run) sign(count, size int, make func(int) (load.Task, error)) ([]load.Task, error) {
	var tasks []load.Task
	for i := range count {
		task, err := make(spread(i, size))
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task)
	}
	return tasks, r.ctx.Err()
}

// spread visits all of size places, each once, before it comes to one again.
func spread(i, size int) int {
	const stride = 7_919 // a prime that divides no size in use
	if size%stride == 0 {
		return i % size
	}
	return i % size * stride % size
}

// closed has the clients do tasks for the duration, each of a thing that may be asked
// again while it is, or once at a time.
func (r *run) closed(size int, once bool, make func(int) (load.Task, error)) (*load.Result, error) {
	tasks, err := r.enough(size, once, make)
	if err != nil {
		return nil, err
	}
	return r.Closed(r.ctx, tasks, r.clients, r.duration)
}

// enough are tasks for closed. A first, short run says how many are to be signed.
func (r *run) enough(size int, once bool, make func(int) (load.Task, error)) ([]load.Task, error) {
	count := min(4*r.clients, size)
	tasks, err := r.sign(count, size, make)
	if err != nil {
		return nil, err
	}
	first, err := r.Closed(r.ctx, tasks, r.clients, r.duration)
	if err != nil {
		return nil, err
	}
	count = int(1.5*first.PerSecond()*r.duration.Seconds()) + r.clients
	if once {
		count = min(count, size)
	}
	return r.sign(count, size, make)
}

// latencies adds throughput and latencies of an operation.
func (r *run) latencies(name, operation string, result *load.Result) {
	r.report.of(r.prefix, name, operation, "rate", "in a second", result.PerSecond(), "1/s")
	for _, p := range []struct {
		name    string
		percent float64
	}{{"p50", 50}, {"p95", 95}, {"p99", 99}} {
		r.report.of(r.prefix, name, operation, p.name, p.name, millis(result.Percentile(p.percent)), "ms")
	}
	all := max(result.Shed+result.Tasks, 1)
	r.report.of(r.prefix, name, operation, "shed", "refused as busy", 100*float64(result.Shed)/float64(all), "%")
}

// costs adds what one operation took of server and database.
func (r *run) costs(name, operation string, result *load.Result) {
	r.report.of(r.prefix, name, operation, "cpu", "server CPU", micros(result.CPUPerTask()), "µs")
	if r.database != nil { // SQLite's is the server's
		r.report.of(r.prefix, name, operation, "database_cpu", "PostgreSQL's CPU", micros(result.DatabaseCPUPerTask()), "µs")
	}
	r.report.of(r.prefix, name, operation, "commits", "durable commits", result.CommitsPerTask(), "")
	r.report.of(r.prefix, name, operation, "bytes", "growth of the database", result.BytesPerTask(), "B")
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }
