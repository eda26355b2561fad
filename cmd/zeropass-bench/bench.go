package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

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
	program := o.server
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
	p, err := load.NewPopulation(ctx, s)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := (&run{options: o, Population: p, ctx: ctx, prefix: "sqlite", report: r, say: say}).all(); err != nil {
		return err
	}
	say.end()
	if o.json {
		return r.json(stdout)
	}
	return r.table(stdout)
}
