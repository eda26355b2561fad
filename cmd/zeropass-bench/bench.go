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
	begun := time.Now()
	dir, err := os.MkdirTemp("", "zeropass-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return err
		}
	}
	if o.server == "" {
		say.say("building zeropass-server")
		if o.server, err = build(ctx, dir); err != nil {
			return err
		}
	}
	if err := load.Pin(); err != nil {
		return err
	}
	r := &report{}
	r.machine()
	say.say("the disk")
	syncs, err := load.Syncs(dir, o.bareTime())
	if err != nil {
		return err
	}
	r.add("machine", "syncs", "4 KiB made durable, one after the other", syncs, "1/s")
	if o.database != "postgres" {
		if err := o.sqlite(ctx, dir, r, say); err != nil {
			return err
		}
	}
	if o.database != "sqlite" {
		if err := o.postgres(ctx, dir, r, say); err != nil {
			return err
		}
	}
	r.add("all", "took", "time that this took", time.Since(begun).Minutes(), "min")
	say.end()
	if o.json {
		return r.json(stdout)
	}
	return r.tables(stdout)
}

// build builds the server from the source that this program stands in.
func build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "zeropass-server")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "zeropass.dev/zeropass/cmd/zeropass-server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build zeropass-server (or name one with --server): %w: %s", err, out)
	}
	return program, nil
}

// bareTime is how long something bare is measured.
func (o *options) bareTime() time.Duration { return min(o.duration/2, 3*time.Second) }

// clientsOf is how many clients the bare commits are measured with.
func (o *options) clientsOf() []int {
	if o.clients == 1 {
		return []int{1}
	}
	return []int{1, o.clients}
}

func (o *options) sqlite(ctx context.Context, dir string, r *report, say progress) error {
	for _, clients := range o.clientsOf() {
		say.say("sqlite: bare commits")
		rate, err := load.SQLiteCommits(ctx, dir, clients, o.bareTime())
		if err != nil {
			return err
		}
		r.add("sqlite", figureName("bare_commits", clients), fmt.Sprintf("bare commits of one row, clients: %d", clients), rate, "1/s")
	}
	return o.measure(ctx, dir, nil, &run{prefix: "sqlite", accounts: o.accounts, report: r, say: say})
}

// postgresAccounts is how many are made in PostgreSQL at most: how cost grows with
// them is measured over SQLite.
const postgresAccounts = 10_000

func (o *options) postgres(ctx context.Context, dir string, r *report, say progress) (err error) {
	say.say("postgres: starting")
	database, err := load.StartPostgres(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	for _, clients := range o.clientsOf() {
		say.say("postgres: bare commits")
		rate, err := database.Commits(ctx, clients, o.bareTime())
		if err != nil {
			return err
		}
		r.add("postgres", figureName("bare_commits", clients), fmt.Sprintf("bare commits of one row, clients: %d", clients), rate, "1/s")
	}
	dir = filepath.Join(dir, "postgres")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return o.measure(ctx, dir, database, &run{prefix: "postgres", accounts: min(o.accounts, postgresAccounts), report: r, say: say})
}

// measure measures one server over an empty database.
func (o *options) measure(ctx context.Context, dir string, database *load.Postgres, r *run) (err error) {
	s, err := load.Start(o.server, dir, database)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	p, err := load.NewPopulation(ctx, s)
	if err != nil {
		return err
	}
	defer func() { p.Close() }()
	r.ctx, r.Population, r.clients, r.duration, r.database, r.profile = ctx, p, o.clients, o.duration, database, o.profile
	r.restart = func() (*load.Server, error) {
		if err := s.Stop(); err != nil {
			return nil, err
		}
		s, err = load.Start(o.server, dir, database)
		return s, err
	}
	return r.all()
}
