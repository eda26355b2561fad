package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// campaign hurts at every change instead of some.
var campaign = flag.Bool("campaign", false, "hurt the programs at every change of the disk")

func TestMain(m *testing.M) {
	if os.Getenv(watchedVariable) != "" {
		fmt.Fprintln(os.Stderr, "watched:", becomeWatched())
		os.Exit(125)
	}
	os.Exit(m.Run())
}

// victim is whose disk a case is about.
type victim int

const (
	device victim = iota
	server
)

func (v victim) String() string { return [...]string{"device", "server"}[v] }

// some is at how many changes the victims are hurt in each way, without -campaign.
var some = tally{killed: 2, torn: 1, full: 1}

// picks returns at which of n changes to hurt: all, or some spread evenly, with
// the first and the last.
func picks(h harm, n int) []int {
	var at []int
	count := some[h]
	if *campaign || n < count {
		count = n
	}
	for i := range count {
		if count == 1 {
			return append(at, (n+1)/2)
		}
		at = append(at, 1+i*(n-1)/(count-1))
	}
	return at
}

// tally counts changes, by what is done at them.
type tally [3]int

func (t tally) String() string {
	return fmt.Sprintf("%4d killed before a change, %4d half-way in a write, %4d on a full disk", t[killed], t[torn], t[full])
}

// Whoever is hurt, and wherever: the same command, given again, goes on.
func TestHurt(t *testing.T) {
	p := programs{t.TempDir()}
	if err := p.build(); err != nil {
		t.Fatal(err)
	}
	t.Run("device", func(t *testing.T) { testStory(t, p, device) })
	t.Run("server", func(t *testing.T) { testStory(t, p, server) })
	t.Run("start", func(t *testing.T) { testFirstStart(t, p) })
}

// testStory plays the story, and every scene again and again with one side hurt.
func testStory(t *testing.T, p programs, v victim) {
	t.Parallel()
	now := newStage(t, p, v)
	total := tally{}
	for _, sc := range story() {
		if sc.prepare != nil {
			now.play(t, sc.prepare)
		}
		before := now.failed
		done := now.hurtScene(t, sc)
		t.Logf("%s, %-32s %v: %d not whole", v, sc.name+":", done, now.failed-before)
		for h, n := range done {
			total[h] += n
		}
		now.play(t, func(s *site) error { return s.do(sc.command()) })
	}
	t.Logf("%s, %-32s %v: %d not whole", v, "in all:", total, now.failed)
}

// stage is where the story has come to, with nobody on it: the server is stopped.
type stage struct {
	victim
	site   *site
	cases  string // directory of the copies
	n      int
	failed int
}

func newStage(t *testing.T, p programs, v victim) *stage {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir()) // as the kernel names it
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{victim: v, cases: filepath.Join(dir, "cases")}
	story := filepath.Join(dir, "story")
	if err := errors.Join(os.Mkdir(st.cases, 0o700), os.Mkdir(story, 0o700)); err != nil {
		t.Fatal(err)
	}
	if st.site, err = newSite(p, story); err != nil {
		t.Fatal(err)
	}
	return st
}

// play goes on with the story.
func (st *stage) play(t *testing.T, what func(*site) error) {
	t.Helper()
	err := st.site.start(nil)
	if err == nil {
		err = what(st.site)
	}
	if stopped := st.site.stop(syscall.SIGTERM); err == nil {
		err = stopped
	}
	if err != nil {
		t.Fatalf("the story itself, with nobody hurt: %v", err)
	}
}

// hurtScene plays the next scene once unhurt, to count, and then on copies.
func (st *stage) hurtScene(t *testing.T, sc scene) tally {
	t.Helper()
	done := tally{}
	if sc.local && st.victim == server {
		return done
	}
	changes, _ := st.hurt(t, sc, killed, 0)
	for _, h := range []harm{killed, torn, full} {
		n := changes[h]
		for _, at := range picks(h, n) {
			if _, hit := st.hurt(t, sc, h, at); hit {
				done[h]++
			}
		}
		// How many there are is not the same each time.
		for hit := *campaign; hit; {
			n++
			if _, hit = st.hurt(t, sc, h, n); hit {
				done[h]++
			}
		}
	}
	if done[killed] == 0 || done[torn] == 0 || done[full] == 0 {
		t.Errorf("%v, %s: %v: does the watch still work?", st.victim, sc.name, done)
	}
	return done
}

// hurt plays a scene on a copy, hurting the victim at a change, then plays it as
// it should be, and checks what came of it. It returns how many changes there were
// to be hurt each way, and whether one was.
func (st *stage) hurt(t *testing.T, sc scene, h harm, at int) (seen tally, hit bool) {
	t.Helper()
	st.n++
	s, err := st.site.copyTo(filepath.Join(st.cases, fmt.Sprint(st.n)))
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{root: s.path(st.victim.String())}
	var r result
	if st.victim == device {
		r, err = s.hurtDevice(w, sc, h, at)
	} else {
		r, err = s.hurtServer(w, sc, h, at)
	}
	seen, hit, first := w.outcome()
	w.arm(h, 0)
	if err == nil {
		err = s.goOn(sc, r)
	}
	_ = s.stop(syscall.SIGKILL)
	if err != nil {
		t.Errorf("%s: the %v was %v at change %d, %v.\nThe command ended with %d:\n%s%s\nAnd then: %v\nAll of it is in %s",
			sc.name, st.victim, h, at, first, r.code, r.stdout, r.stderr, err, keep(s.dir))
		if st.failed++; st.failed == mostFailures || at == 0 {
			t.FailNow()
		}
		return seen, hit
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	return seen, hit
}

// mostFailures is after how many a test ends.
const mostFailures = 20

// keep moves a directory out of the test's, to be looked at.
func keep(dir string) string {
	kept, err := os.MkdirTemp("", "zeropass-crash-")
	if err == nil {
		err = os.Rename(dir, filepath.Join(kept, "site"))
	}
	if err != nil {
		return err.Error()
	}
	return kept
}

// hurtDevice runs a command that is hurt.
func (s *site) hurtDevice(w *watch, sc scene, h harm, at int) (result, error) {
	if err := s.start(nil); err != nil {
		return result{}, err
	}
	w.arm(h, at)
	return s.run(w, sc.command())
}

// hurtServer runs a command while the server is hurt. One that was killed is gone
// when it returns; one whose disk was full goes on when there is room.
func (s *site) hurtServer(w *watch, sc scene, h harm, at int) (result, error) {
	if err := s.start(w); err != nil {
		return result{}, err
	}
	w.arm(h, at)
	r, err := s.run(nil, sc.command())
	if _, hit, _ := w.outcome(); hit && h != full {
		err = errors.Join(err, s.stop(syscall.SIGKILL)) // it is dying already
	}
	return r, err
}

// goOn starts the server if it does not run, gives the command again if it did not
// say that it was done, and checks what came of it all.
func (s *site) goOn(sc scene, r result) error {
	if !s.runs() {
		if err := s.start(nil); err != nil {
			return err
		}
	}
	if r.code != 0 {
		if err := s.again(sc); err != nil {
			return err
		}
	}
	return sc.check(s)
}

// again gives the command once more.
func (s *site) again(sc scene) error {
	if err := s.tryInstead(sc); err != nil {
		return err
	}
	if sc.done != nil {
		if done, err := sc.done(s); done || err != nil {
			return err
		}
	}
	r, err := s.run(nil, sc.command())
	switch {
	case err != nil || r.code == 0:
		return err
	case sc.over == nil:
		return r.failed("again, it ends with %d", r.code)
	}
	return sc.over(s, r)
}

// tryInstead tries on a copy what somebody may try instead.
func (s *site) tryInstead(sc scene) error {
	if sc.instead == nil {
		return nil
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		return err
	}
	copied, err := s.copyTo(s.dir + ".instead")
	if err != nil {
		return err
	}
	if err := copied.start(nil); err != nil {
		return err
	}
	err = sc.instead(copied)
	_ = copied.stop(syscall.SIGKILL)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(copied.dir), s.start(nil))
}

// testFirstStart: the server's first start, hurt anywhere, can be repeated.
func testFirstStart(t *testing.T, p programs) {
	t.Parallel()
	st := newStage(t, p, server)
	first := scene{name: "the first start", who: "owner", args: initArgs("Ada"), check: story()[0].check}
	changes, _ := st.hurtStart(t, first, killed, 0)
	done := tally{}
	for _, h := range []harm{killed, torn, full} {
		for _, at := range picks(h, changes[h]) {
			if _, hit := st.hurtStart(t, first, h, at); hit {
				done[h]++
			}
		}
	}
	t.Logf("server, %-32s %v: %d not whole", first.name+":", done, st.failed)
}

// hurtStart hurts a server that starts for the first time, and starts it again.
func (st *stage) hurtStart(t *testing.T, sc scene, h harm, at int) (seen tally, hit bool) {
	t.Helper()
	st.n++
	s, err := st.site.copyTo(filepath.Join(st.cases, fmt.Sprint(st.n)))
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{root: s.path("server")}
	w.arm(h, at)
	begun := s.start(w)
	seen, hit, first := w.outcome()
	w.arm(h, 0)
	if hit || begun == nil {
		err = s.goOn(sc, result{code: -1})
	} else {
		err = begun
	}
	_ = s.stop(syscall.SIGKILL)
	if err != nil {
		t.Errorf("the server's first start was %v at change %d, %v.\nIt said: %v\nAnd then: %v\nAll of it is in %s", h, at, first, begun, err, keep(s.dir))
		st.failed++
	}
	return seen, hit
}
