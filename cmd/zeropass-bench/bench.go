package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"zeropass.dev/zeropass/internal/load"
)

// bench measures everything that was asked for.
func (o *options) bench(ctx context.Context, stdout io.Writer, say progress) (err error) {
	defer say.end()
	dir, err := os.MkdirTemp("", "zeropass-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := o.program
	if program == "" {
		say.say("building zeropass-server")
		program = filepath.Join(dir, "zeropass-server")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "zeropass.dev/zeropass/cmd/zeropass-server").CombinedOutput(); err != nil {
			return fmt.Errorf("build zeropass-server, which --server names otherwise: %w: %s", err, out)
		}
	}
	s, err := load.Start(program, dir, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := load.Pin(); err != nil {
		return err
	}
	r := &report{}
	if err := o.measure(ctx, s, r, say); err != nil {
		return err
	}
	say.end()
	if o.json {
		return r.json(stdout)
	}
	return r.table(stdout)
}

// measure measures one server over an empty database.
func (o *options) measure(ctx context.Context, s *load.Server, r *report, say progress) error {
	p, err := load.NewPopulation(ctx, s)
	if err != nil {
		return err
	}
	defer p.Close()
	begun := time.Now()
	if err := p.Grow(ctx, o.accounts, func(n int) { say.say("%d of %d accounts", n, o.accounts) }); err != nil {
		return err
	}
	r.add("accounts", "accounts made", float64(o.accounts), "")
	r.add("create", "accounts made per second", float64(o.accounts)/time.Since(begun).Seconds(), "1/s")
	say.say("bare curve operations")
	bare, err := load.MeasureCurve(o.duration / 10)
	if err != nil {
		return err
	}
	r.add("curve_sign", "one signature", micros(bare.Sign), "µs")
	r.add("curve_verify", "one verification", micros(bare.Verify), "µs")
	r.add("curve_seal", "one sealing", micros(bare.Seal), "µs")
	say.say("reveals")
	result, err := o.closed(ctx, p, p.Reveal)
	if err != nil {
		return err
	}
	r.latencies("reveal", "reveal, one device", result)
	operations := bare.Of(load.RevealAlone)
	r.add("reveal_cpu", "server CPU per reveal", micros(result.CPUPerTask()), "µs")
	r.add("reveal_curve", "its bare curve operations", micros(operations), "µs")
	r.add("reveal_cpu_ratio", "server CPU per reveal / its bare curve operations", float64(result.CPUPerTask())/float64(operations), "×")
	r.add("reveal_commits", "durable commits per reveal", result.CommitsPerTask(), "")
	return nil
}

// closed has the clients do tasks for the duration. A first, short run says how
// many tasks are to be signed.
func (o *options) closed(ctx context.Context, p *load.Population, make func(int) (load.Task, error)) (*load.Result, error) {
	n, tasks := 0, []load.Task(nil)
	sign := func(count int) error {
		tasks = tasks[:0]
		for range count {
			task, err := make(n % len(p.Accounts))
			if err != nil {
				return err
			}
			tasks, n = append(tasks, task), n+1
		}
		return nil
	}
	if err := sign(4 * o.clients); err != nil {
		return nil, err
	}
	first, err := p.Closed(ctx, tasks, o.clients, o.duration)
	if err != nil {
		return nil, err
	}
	if err := sign(int(1.5 * first.PerSecond() * o.duration.Seconds())); err != nil {
		return nil, err
	}
	return p.Closed(ctx, tasks, o.clients, o.duration)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
