package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"zeropass.dev/zeropass/internal/load"
	"zeropass.dev/zeropass/internal/store/postgres/postgrestest"
)

const (
	operateAccounts = 500
	operateSecrets  = 8 // of each account
)

// BenchmarkOperate measures the operator's commands as they are run, each as a
// process, on the same data in a directory and in PostgreSQL: accounts and megabytes
// of backup for each second.
func BenchmarkOperate(b *testing.B) {
	b.Setenv(asProgram, "1")
	dir := b.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	populate(b, dir)
	made := must[*age.X25519Identity](b)(age.GenerateX25519Identity())
	if err := os.WriteFile(path("identity"), []byte(made.String()+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	recipient, identity, keys := []string{"--recipient", made.Recipient().String()}, []string{"--identity", path("identity")}, []string{"--key-file", path("keys")}
	runBench(b, os.Args[0], "backup", recipient, []string{"--data", path("data"), "--output", path("all.age")})
	whole, err := os.Stat(path("all.age"))
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d accounts with %d secrets each, %.1f MB", operateAccounts, operateSecrets, float64(whole.Size())/1e6)
	server := postgrestest.Start(b, postgrestest.Options{Durable: true})
	next := buildNext(b, 1)
	places := 0
	for _, where := range []struct {
		name string
		make func() []string
	}{
		{"directory", func() []string { return []string{"--data", path(fmt.Sprint("data of run ", places))} }},
		{"database", func() []string { return []string{"--database", server.URL(server.Database(b))} }},
	} {
		b.Run(where.name, func(b *testing.B) {
			took := map[string]time.Duration{}
			timed := func(what, program, command string, args ...[]string) {
				begun := time.Now()
				runBench(b, program, command, args...)
				took[what] += time.Since(begun)
			}
			for b.Loop() {
				places++
				place, copied := where.make(), path(fmt.Sprint("copy ", places))
				timed("restore", os.Args[0], "restore", place, keys, identity, []string{"--input", path("all.age")})
				timed("check", os.Args[0], "check", place, keys)
				timed("backup", os.Args[0], "backup", place, recipient, []string{"--output", copied})
				runBench(b, os.Args[0], "keys", []string{"add"}, keys)
				timed("rotate", os.Args[0], "keys", []string{"rotate"}, place, keys)
				timed("migrate", next, "migrate", place)
			}
			for what, d := range took {
				b.ReportMetric(operateAccounts*float64(b.N)/d.Seconds(), what+"-accounts/s")
				b.ReportMetric(float64(whole.Size())*float64(b.N)/d.Seconds()/1e6, what+"-MB/s")
			}
			b.ReportMetric(0, "ns/op") // it says nothing
		})
	}
}

// populate makes a server's data.
func populate(b *testing.B, dir string) {
	s, err := load.Start(os.Args[0], dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	p, err := load.NewPopulation(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	if err := p.Grow(b.Context(), operateAccounts, nil); err != nil {
		b.Fatal(err)
	}
	for range operateSecrets - 1 {
		var tasks []load.Task
		for i := range operateAccounts {
			task, err := p.Backup(i)
			if err != nil {
				b.Fatal(err)
			}
			tasks = append(tasks, task)
		}
		if _, err := p.All(b.Context(), tasks, 16); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Stop(); err != nil {
		b.Fatal(err)
	}
}

func runBench(b *testing.B, program, command string, args ...[]string) {
	b.Helper()
	all := []string{command}
	for _, some := range args {
		all = append(all, some...)
	}
	var out bytes.Buffer
	cmd := exec.Command(program, all...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v\n%s", all, err, &out)
	}
}
