package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/powerloss"
)

// A sync fails. The server stops, says why, and has acknowledged nothing that
// depends on it. Started again over the same disk it has everything, and has it
// still when the power is cut later: what the kernel dropped is not built upon.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	p := built(t)
	chance := rand.New(rand.NewPCG(theSeed(), 2<<32))
	f := &figures{}
	var err error
	conclude(t, func() outcome { return f.outcome("failed syncs, each of another server", err) })
	for range max(4, *cuts/60) {
		err = errors.Join(err, failSync(t, p, chance, f))
	}
	t.Logf("%d syncs failed, each of another server; seed %d", f.done.Load(), theSeed())
}

// failSync returns an error, which it has reported, if something is wrong after the
// failed sync.
func failSync(t *testing.T, p programs, chance *rand.Rand, f *figures) error {
	t.Helper()
	s, d := newPowered(t, p, chance, f)
	defer f.done.Add(1)
	ctx := t.Context()
	at := 1 + chance.IntN(60)
	if err := s.up(ctx); err != nil {
		t.Fatal(err)
	}
	d.FailSync(at)
	s.wire.dying.Store(true) // by itself
	stopped := func() bool { return s.life.exited() }
	if err := s.write(ctx, func() bool { return !stopped() }); err != nil && !stopped() {
		t.Fatal(err)
	}
	select {
	case <-s.life.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("seed %d: sync %d failed, and the server goes on:\n%s", theSeed(), at, &s.life.log)
	}
	if code := s.life.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(s.life.log.String(), "hint: Look at the disk, and start again") {
		t.Errorf("sync %d failed, and the server ends with %d:\n%s", at, code, &s.life.log)
	}
	s.wire.disconnect()
	// Again over the same disk, and some writes later the power goes.
	err := s.up(ctx)
	if err == nil {
		d.CutAfter(1+chance.IntN(mostChanges), s.kill)
		err = s.write(ctx, func() bool { return !s.wire.dying.Load() })
	}
	if err == nil || s.wire.dying.Load() && !isLoss(err) {
		s.kill()
		err = errors.Join(s.gone(), s.power(d))
	}
	if err == nil {
		err = errors.Join(s.up(ctx), s.check())
	}
	if err != nil {
		t.Errorf("seed %d, sync %d failed, and then (%s): %v", theSeed(), at, d.how, s.evidence(err))
	}
	return err
}

// The disk is full for a while. The server goes on, and nothing is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(theSeed(), 3<<32))
	f := &figures{}
	var failed error
	conclude(t, func() outcome { return f.outcome("full disks", failed) })
	s, d := newPowered(t, built(t), chance, f)
	ctx := t.Context()
	if err := s.up(ctx); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f.done.Add(1)
		enough := s.wire.acked.Load() + 1 + chance.Int64N(6)
		if err := s.write(ctx, func() bool { return s.wire.acked.Load() < enough }); err != nil {
			t.Fatal(err)
		}
		d.SetFull(true)
		refused, began := d.Refusals(), s.wire.acked.Load()
		for range 20 {
			_ = together(s.families, func(f *family) error { return f.write(ctx) }) // refused, or gone
		}
		if d.Refusals() == refused {
			t.Error("nothing met a full disk")
		}
		if acked := s.wire.acked.Load(); acked > began+3*writers {
			t.Errorf("%d writes were acknowledged on a full disk", acked-began)
		}
		d.SetFull(false)
		if failed = s.prove(ctx, s.families); failed != nil {
			t.Fatalf("seed %d, after a full disk: %v\n%s", theSeed(), failed, &s.life.log)
		}
	}
	s.kill()
	if failed = errors.Join(s.gone(), s.power(d), s.up(ctx), s.check()); failed != nil {
		t.Errorf("seed %d, after a full disk and a power cut (%s): %v", theSeed(), d.how, failed)
	}
}

// newPowered makes a station on an empty disk, whose writes are counted.
func newPowered(t *testing.T, p programs, chance *rand.Rand, f *figures) (*station, *disk) {
	t.Helper()
	dir, err := os.MkdirTemp("", "zeropass-disk-")
	if err != nil {
		t.Fatal(err)
	}
	s, d := newStation(p, dir, chance), &disk{}
	if d.Mounted, err = powerloss.Mount(powerloss.New(chance.Uint64()), s.place); err != nil {
		t.Fatal(err)
	}
	s.wire.all = &f.wrote
	t.Cleanup(func() {
		s.end()
		d.Unmount()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	d.SyncAll()
	return s, d
}

// up starts the server and looks for everything.
func (s *station) up(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.prove(ctx, s.families); err != nil {
		return fmt.Errorf("started again: %w", err)
	}
	return s.renew(writers)
}

// exited says whether the server has ended by itself, or is about to: it does not
// answer any more.
func (l *life) exited() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func isLoss(err error) bool {
	var loss *lossError
	return errors.As(err, &loss)
}
