package crashtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	kills     = flag.Int("kills", 40, "kill -9 the server so many times while it writes")
	startFrom = flag.Uint64("start-seed", 0, "of all that chance decides; 0 draws one")
	workers   = flag.Int("stations", 3, "so many servers at the same time")
)

const (
	perKillStation = 250 // kills, after which a server begins anew with empty data
	perCheck       = 50  // kills between two runs of zeropass-server check
	writers        = 3   // families of a server
	mostWrites     = 12  // acknowledged in one life
	mostWriting    = 10 * time.Millisecond
)

// theSeed is -start-seed, or one that is drawn. It decides when the server is killed; what
// it was doing then also depends on the machine.
var theSeed = sync.OnceValue(func() uint64 {
	if *startFrom != 0 {
		return *startFrom
	}
	return rand.Uint64()
})

// figures are what a campaign counts.
type figures struct {
	done, starting, wrote, checks atomic.Int64
	began                         time.Time
}

func (f *figures) String() string {
	return fmt.Sprintf("%d kills, %d of them while it started; %d acknowledged writes, %d times zeropass-server check, %s",
		f.done.Load(), f.starting.Load(), f.wrote.Load(), f.checks.Load(), time.Since(f.began).Round(time.Second))
}

// outcome is what a campaign found that ended with an error, or nil.
func (f *figures) outcome(hurt string, err error) outcome {
	return outcome{hurt: hurt, times: f.done.Load(), acknowledged: f.wrote.Load(), lost: losses(err)}
}

// progress says every ten seconds how far a campaign has come, until stop is closed.
func progress(f fmt.Stringer, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Second):
			fmt.Fprintln(os.Stderr, f)
		}
	}
}

// The server is killed while it writes, again and again over the same data. What it
// has acknowledged is there afterwards, and what it has not is taken when it is sent
// again.
func TestKilled(t *testing.T) {
	t.Parallel()
	p := built(t)
	f := &figures{began: time.Now()}
	stop := make(chan struct{})
	if testing.Verbose() {
		go progress(f, stop)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, *workers)
	conclude(t, func() outcome { return f.outcome("kill -9", errors.Join(errs...)) })
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			chance := rand.New(rand.NewPCG(theSeed(), uint64(i)))
			for f.done.Load() < int64(*kills) && ctx.Err() == nil {
				if err := killStation(ctx, p, f, chance); err != nil && ctx.Err() == nil {
					cancel() // the first failure ends it
					errs[i] = err
					t.Errorf("seed %d, server %d: %v", theSeed(), i, err)
				}
			}
		})
	}
	group.Wait()
	cancel()
	close(stop)
	t.Logf("%v; lost: %d; seed %d, %d servers", f, losses(errors.Join(errs...)), theSeed(), *workers)
}

// killStation has one server, from its first start to its last kill.
func killStation(ctx context.Context, p programs, f *figures, chance *rand.Rand) error {
	dir, err := os.MkdirTemp("", "zeropass-killed-")
	if err != nil {
		return err
	}
	s := newStation(p, dir, chance)
	s.wire.all = &f.wrote
	err = errors.Join(os.Mkdir(s.place, 0o700), s.prepare())
	for n := 0; err == nil && ctx.Err() == nil && n < perKillStation && f.done.Load() < int64(*kills); n++ {
		if n%perCheck == perCheck-1 {
			f.checks.Add(1)
			err = s.check()
		}
		if err == nil {
			err = s.killOnce(ctx, f)
		}
	}
	if err == nil && ctx.Err() == nil {
		err = s.last(ctx)
		f.checks.Add(1)
	}
	s.end()
	if ctx.Err() == nil && err != nil {
		return s.kept(err)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// killOnce starts the server, looks for everything, writes, and kills it.
func (s *station) killOnce(ctx context.Context, f *figures) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer f.done.Add(1)
	if s.chance.IntN(8) == 0 { // while it starts, for the first time too
		f.starting.Add(1)
		time.Sleep(time.Duration(s.chance.Int64N(int64(max(s.started, 50*time.Millisecond)))))
		s.kill()
		go s.life.wait()
		return s.gone()
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	err := s.prove(ctx, s.families)
	if err == nil {
		err = s.renew(writers)
	}
	if err != nil {
		return err
	}
	// Some writes later, and then at any moment of those that follow.
	enough := s.wire.acked.Load() + s.chance.Int64N(mostWrites)
	later := time.Duration(s.chance.Int64N(int64(mostWriting)))
	strike := s.kill
	if s.strike != nil {
		strike = s.strike
	}
	var once sync.Once
	err = s.write(ctx, func() bool {
		if s.wire.acked.Load() >= enough {
			once.Do(func() { time.AfterFunc(later, strike) })
		}
		return !s.wire.dying.Load()
	})
	once.Do(strike) // all have written enough for good
	if err != nil {
		return err
	}
	return s.gone()
}

// last looks for everything once more, that of families too which have stopped to
// write, and stops the server as a system does.
func (s *station) last(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.prove(ctx, s.families), s.prove(ctx, s.retired)); err != nil {
		return err
	}
	s.kill()
	return errors.Join(s.gone(), s.check())
}

// built are the real programs, built once for all tests.
func built(t *testing.T) programs {
	t.Helper()
	p, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var buildOnce = sync.OnceValues(func() (programs, error) {
	p := programs{filepath.Join(os.TempDir(), fmt.Sprintf("zeropass-crashtest-%d", os.Getpid()))}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return p, err
	}
	cleanUp = func() { _ = os.RemoveAll(p.dir) }
	return p, p.build()
})

// cleanUp removes what was built.
var cleanUp = func() {}
