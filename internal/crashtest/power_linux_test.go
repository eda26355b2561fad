package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/powerloss"
)

var cuts = flag.Int("cuts", 30, "cut the power so many times while the server writes")

const (
	perCutStation = 60  // cuts, after which a server begins anew on an empty disk
	perCutCheck   = 10  // cuts between two runs of zeropass-server check
	mostChanges   = 400 // of the disk, in one life
)

// cutFigures are what a campaign of power cuts counts.
type cutFigures struct{ figures }

func (f *cutFigures) String() string {
	return fmt.Sprintf("%d power cuts, %d of them while the server started; %d acknowledged writes, %d times zeropass-server check, %s",
		f.done.Load(), f.starting.Load(), f.wrote.Load(), f.checks.Load(), time.Since(f.began).Round(time.Second))
}

// The power is cut at any change of the server's disk, which then has of what was
// not synced what chance leaves. What was acknowledged is there afterwards.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	f, err := cutAll(t.Context(), built(t), *cuts)
	conclude(t, func() outcome { return f.outcome("power cuts", err) })
	if err != nil {
		t.Error(err)
	}
	t.Logf("%v; lost: %d; seed %d, %d servers", f, losses(err), theSeed(), *workers)
}

// A server that does not sync each transaction is caught: else the test above would
// say nothing.
func TestForgetfulServerIsCaught(t *testing.T) {
	t.Parallel()
	const source = "../store/sqlite/sqlite.go"
	b, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	forgetful := bytes.Replace(b, []byte("synchronous(FULL)"), []byte("synchronous(NORMAL)"), 1)
	if bytes.Equal(b, forgetful) {
		t.Fatal("what makes a transaction durable is not where it was")
	}
	p := programs{t.TempDir()}
	path, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: filepath.Join(p.dir, "sqlite.go")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(p.dir, "sqlite.go"), forgetful, 0o600), os.WriteFile(filepath.Join(p.dir, "overlay"), overlay, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := p.build("-overlay", filepath.Join(p.dir, "overlay")); err != nil {
		t.Fatal(err)
	}
	f, err := cutAll(t.Context(), p, 400)
	conclude(t, func() outcome {
		o := f.outcome("power cuts, of a server that must be caught", err)
		o.caught = o.lost > 0
		return o
	})
	var loss *lossError
	if !errors.As(err, &loss) {
		t.Fatalf("it is not caught: %v; %v", f, err)
	}
	t.Logf("caught after %d power cuts: %v", f.done.Load(), loss)
	for _, kept := range regexp.MustCompile(`Everything is in (.*)`).FindAllStringSubmatch(err.Error(), -1) {
		if err := os.RemoveAll(kept[1]); err != nil {
			t.Error(err)
		}
	}
}

// cutAll cuts the power so many times, of several servers at the same time, or until
// something is wrong.
func cutAll(ctx context.Context, p programs, cuts int) (*cutFigures, error) {
	f := &cutFigures{figures: figures{began: time.Now()}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	if testing.Verbose() {
		go progress(f, stop)
	}
	errs := make([]error, *workers)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			chance := rand.New(rand.NewPCG(theSeed(), 1<<32+uint64(i)))
			for f.done.Load() < int64(cuts) && ctx.Err() == nil {
				if err := cutStation(ctx, p, f, cuts, chance); err != nil && ctx.Err() == nil {
					errs[i] = fmt.Errorf("seed %d, server %d: %w", theSeed(), i, err)
					cancel() // the first failure ends it
				}
			}
		})
	}
	group.Wait()
	return f, errors.Join(errs...)
}

// disk is what a station's server writes to.
type disk struct {
	*powerloss.Mounted
	how string // what the last cut was like
}

// cutStation has one server on one disk, from its first start to its last cut.
func cutStation(ctx context.Context, p programs, f *cutFigures, cuts int, chance *rand.Rand) (err error) {
	dir, err := os.MkdirTemp("", "zeropass-cut-")
	if err != nil {
		return err
	}
	s := newStation(p, dir, chance)
	s.wire.all = &f.wrote
	d := &disk{}
	if d.Mounted, err = powerloss.Mount(powerloss.New(chance.Uint64()), s.place); err != nil {
		return err
	}
	defer func() {
		s.end()
		d.Unmount()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	err = s.prepare()
	d.SyncAll()
	n := 0
	for ; err == nil && ctx.Err() == nil && n < perCutStation && f.done.Load() < int64(cuts); n++ {
		if n%perCutCheck == perCutCheck-1 && s.wire.sign != nil {
			f.checks.Add(1)
			err = s.check()
		}
		if err == nil {
			err = s.cutOnce(ctx, d, f)
		}
	}
	if err == nil && ctx.Err() == nil {
		err = s.last(ctx)
		f.checks.Add(1)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("after %d cuts (%s): %w", n, d.how, err)
		return s.evidence(err)
	}
	return err
}

// cutOnce starts the server, looks for everything, writes, and cuts the power.
func (s *station) cutOnce(ctx context.Context, d *disk, f *cutFigures) error {
	defer f.done.Add(1)
	after := 1 + s.chance.IntN(mostChanges)
	if s.chance.IntN(6) == 0 || s.starts == 0 && s.chance.IntN(2) == 0 { // while it starts
		f.starting.Add(1)
		d.CutAfter(1+s.chance.IntN(40), func() { s.kill() })
	}
	if err := s.begin(); err != nil {
		return err
	}
	err := s.ready(ctx)
	if err == nil {
		err = s.prove(ctx, s.families)
	}
	if err == nil {
		err = s.renew(writers)
	}
	if err == nil && !d.IsCut() {
		d.CutAfter(after, s.kill)
		err = s.write(ctx, func() bool { return !s.wire.dying.Load() })
	}
	if err != nil && !s.wire.dying.Load() && !d.IsCut() {
		return err
	}
	var loss *lossError
	if errors.As(err, &loss) {
		return err
	}
	s.kill()
	if err := s.gone(); err != nil {
		return err
	}
	return s.power(d)
}

// power gives the disk power again after a cut.
func (s *station) power(d *disk) error {
	d.Unmount()
	next, how := d.AfterPowerCut()
	d.how = how
	var err error
	d.Mounted, err = powerloss.Mount(next, s.place)
	return err
}

// evidence copies what is on the disk out of it.
func (s *station) evidence(failed error) error {
	kept, err := os.MkdirTemp("", "zeropass-crash-")
	if err == nil {
		err = errors.Join(os.Mkdir(kept+"/server", 0o700), copyTree(s.place, kept+"/server"))
	}
	if s.life != nil {
		err = errors.Join(err, os.WriteFile(kept+"/log", s.life.log.Bytes(), 0o600))
	}
	return errors.Join(fmt.Errorf("%w\nEverything is in %s", failed, kept), err)
}
