package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs the program and returns what it printed.
func call(t *testing.T, args ...string) (code exitCode, stdout, stderr string) {
	t.Helper()
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		files[i] = f
	}
	code = program(t.Context(), args, files[0], files[1])
	var printed [2]string
	for i, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		printed[i] = string(b)
	}
	return code, printed[0], printed[1]
}

// What is measured of every database: throughput and latencies under these names.
var measured = []string{
	"reveal", "confirmed", "half", "twice", "backup", "sync", "recovery_start", "recovery_release", "recovery_end", "cold",
}

// Further figures, of which some can be zero in so short a run.
var figures = []string{
	"curve_sign", "curve_verify", "curve_seal", "bare_commits_1", "bare_commits_8", "create_rate", "create_cpu", "create_commits", "create_bytes", "reveal_bytes", "confirmed_bytes", "backup_bytes", "memory",
	"reveal_rate_at_100", "reveal_cpu_ratio_at_100", "flat", "reveal_cpu", "reveal_curve", "reveal_cpu_ratio", "reveal_commits", "reveal_commits_each",
	"confirmed_cpu", "confirmed_curve", "confirmed_cpu_ratio", "confirmed_commits", "twice_shed", "twice_late", "overload",
	"backup_cpu", "backup_commits", "sync_cpu", "sync_commits", "recovery_start_cpu", "recovery_start_commits",
	"recovery_release_commits", "recovery_end_commits",
}

// Every figure is there, over both databases, and every answer was verified; how
// large they are says nothing about so few accounts in so short a time.
func TestEveryFigure(t *testing.T) {
	profiles := filepath.Join(t.TempDir(), "profiles")
	code, stdout, stderr := call(t, "--quick", "--json", "--database=both", "--accounts=100", "--clients=8", "--duration=100ms", "--profile="+profiles)
	if code != exitDone || stderr != "" {
		t.Fatalf("ended with %d: %s", code, stderr)
	}
	for _, of := range []string{"sqlite-recoveries-*.pprof", "postgres-recoveries-*.pprof"} {
		if files, err := filepath.Glob(filepath.Join(profiles, of)); err != nil || len(files) == 0 {
			t.Errorf("there is no %s: %v", of, err)
		}
	}
	var report []figure
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	got := map[string]figure{}
	for _, f := range report {
		if _, twice := got[f.Run+" "+f.Name]; twice {
			t.Errorf("%s of %s stands there twice", f.Name, f.Run)
		}
		got[f.Run+" "+f.Name] = f
	}
	for _, run := range []string{"sqlite", "postgres"} {
		for _, name := range measured {
			for _, suffix := range []string{"_rate", "_p50", "_p95", "_p99"} {
				if f := got[run+" "+name+suffix]; f.Value <= 0 {
					t.Errorf("%s: %s%s is %v", run, name, suffix, f.Value)
				}
			}
		}
		for _, name := range figures {
			if f, ok := got[run+" "+name]; !ok || f.Value < 0 || f.Says == "" || strings.HasPrefix(name, "curve_") && f.Value == 0 {
				t.Errorf("%s: %s is %v (%v)", run, name, f.Value, ok)
			}
		}
	}
	if got["machine syncs"].Value <= 0 || got["postgres reveal_database_cpu"].Says == "" {
		t.Errorf("of machine and database there is %v and %v", got["machine syncs"], got["postgres reveal_database_cpu"])
	}
	// The promises of the project, which docs/capacity.md names.
	for name, most := range map[string]float64{"reveal_cpu_ratio": 1.5, "confirmed_cpu_ratio": 1.5, "reveal_commits_each": 0.3, "overload": 3} {
		if f := got["sqlite "+name]; f.Most != most {
			t.Errorf("the target of %s is %v, not %v", name, f.Most, most)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--database=oracle"}, {"--accounts=3"}, {"--clients=0"}, {"--duration=1h"}, {"--duration=1ms"}, {"argument"}, {"--wrong"},
	} {
		code, stdout, stderr := call(t, args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, "hint: ") {
			t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := call(t, "--help"); code != exitDone || stdout != usageText {
		t.Errorf("--help: %d, %q", code, stdout)
	}
	code, _, stderr := call(t, "--server=/nonexistent", "--duration=100ms", "--clients=1")
	if code != exitFailed || !strings.Contains(stderr, "/nonexistent") {
		t.Errorf("without a server: %d, %q", code, stderr)
	}
}

func TestRounded(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.0312: "0.031", 0.287: "0.287", 1.499: "1.50", 14.26: "14.3", 985.4: "985", 1153.2: "1,153", 100000: "100,000", -1234567: "-1,234,567",
	} {
		if got := rounded(v); got != want {
			t.Errorf("%v is written %s, not %s", v, got, want)
		}
	}
}

// spread visits every place once in a round, whatever the size.
func TestSpread(t *testing.T) {
	for _, size := range []int{1, 64, 100, 200, 7_919, 10_000, 15_838} {
		seen := map[int]bool{}
		for i := range size {
			seen[spread(i, size)] = true
		}
		if len(seen) != size {
			t.Errorf("%d of %d places", len(seen), size)
		}
	}
}
