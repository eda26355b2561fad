package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	// campaign hurts at every change instead of some.
	campaign = flag.Bool("campaign", false, "hurt the programs at every change of the disk")
	places   = flag.Int("places", 0, "hurt them at so many changes of every scene, in each way")
	only     = flag.String("scene", "", "hurt them in the scenes alone whose names begin so")
)

func TestMain(m *testing.M) {
	if os.Getenv(watchedVariable) != "" {
		fmt.Fprintln(os.Stderr, "watched:", becomeWatched())
		os.Exit(125)
	}
	code := m.Run()
	cleanUp()
	if len(outcomes.list) > 0 && testing.Verbose() {
		verdict(os.Stdout)
	}
	os.Exit(code)
}

// victim is whose disk a case is about.
type victim int

const (
	device victim = iota
	server
)

func (v victim) String() string { return [...]string{"device", "server"}[v] }

// picks returns at which of n changes to hurt: all with -campaign, else some spread
// evenly, or one in the middle.
func picks(some, n int) []int {
	var at []int
	if *campaign || n < some {
		some = n
	}
	for i := range some {
		if some == 1 {
			return append(at, (n+1)/2)
		}
		at = append(at, 1+i*(n-1)/(some-1))
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
	p := built(t)
	for _, v := range []victim{device, server} {
		t.Run("account/"+v.String(), func(t *testing.T) { testStory(t, p, v, story(), everyHarm) })
		t.Run("devices/"+v.String(), func(t *testing.T) { testStory(t, p, v, devices(), oneHarm) })
	}
	t.Run("start", func(t *testing.T) { testFirstStart(t, p) })
}

// everyHarm hurts every scene once in each way.
func everyHarm(int) tally { return tally{killed: 1, torn: 1, full: 1} }

// oneHarm hurts every scene once, in turns.
func oneHarm(scene int) (some tally) {
	some[scene%len(some)] = 1
	return some
}

// testStory plays a story, and every scene again and again with one side hurt.
func testStory(t *testing.T, p programs, v victim, scenes []scene, some func(scene int) tally) {
	t.Parallel()
	now := newStage(t, p, v)
	total := tally{}
	for i, sc := range scenes {
		before := now.failed
		take := some(i)
		if *places > 0 {
			take = tally{*places, *places, *places}
		}
		done := now.hurtScene(t, sc, i, take)
		t.Logf("%s, %-32s %v: %d not whole", v, sc.name+":", done, now.failed-before)
		for h, n := range done {
			total[h] += n
		}
	}
	t.Logf("%s, %-32s %v: %d not whole", v, "in all:", total, now.failed)
}

// stage is where the story has come to, with nobody on it: the server is stopped.
type stage struct {
	victim
	site   *site
	cases  string // directory of the copies
	n      int    // how many copies there were
	failed int
}

func newStage(t *testing.T, p programs, v victim) *stage {
	t.Helper()
	// Of its own: an agent's socket must have a short name.
	made, err := os.MkdirTemp("", "zeropass-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(made) })
	dir, err := filepath.EvalSymlinks(made) // as the kernel names it
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
	t.Cleanup(st.site.hook.Close)
	return st
}

// another is a copy of what the story has come to.
func (st *stage) another(t *testing.T) *site {
	t.Helper()
	st.n++
	s, err := st.site.copyTo(filepath.Join(st.cases, fmt.Sprint(st.n)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// prepare plays what leads to a scene.
func (st *stage) prepare(t *testing.T, sc scene) {
	t.Helper()
	if sc.prepare == nil {
		return
	}
	err := st.site.start(nil)
	if err == nil {
		err = sc.prepare(st.site)
	}
	if err = errors.Join(err, st.site.stop(syscall.SIGTERM)); err != nil {
		t.Fatalf("what leads to %s, with nobody hurt: %v", sc.name, err)
	}
}

// hurtScene plays the next scene once unhurt, to count and to go on with the story,
// and on copies of what was before with the victim hurt.
func (st *stage) hurtScene(t *testing.T, sc scene, number int, some tally) tally {
	t.Helper()
	st.prepare(t, sc)
	next := st.another(t)
	changes := st.count(t, next, sc)
	done := tally{}
	if *campaign && strings.HasPrefix(sc.name, *only) {
		st.hurt(t, sc, killed, 0)
	}
	for _, h := range []harm{killed, torn, full} {
		if sc.local && st.victim == server || !strings.HasPrefix(sc.name, *only) {
			break
		}
		n := changes[h]
		for _, at := range picks(some[h], n) {
			if _, hit := st.hurt(t, sc, h, at); hit {
				done[h]++
			}
		}
		// How many there are is not the same each time.
		for hit := *campaign && n > 0; hit; {
			n++
			if _, hit = st.hurt(t, sc, h, n); hit {
				done[h]++
			}
		}
		if done[h] == 0 && some[h] > 0 && n > 0 {
			t.Errorf("%v, %s: nobody was %v, of %v: does the watch still work?", st.victim, sc.name, h, changes)
		}
	}
	if st.victim == device && sc.beside == nil && strings.HasPrefix(sc.name, *only) {
		st.cutPower(t, sc, number, changes[killed])
	}
	if err := os.RemoveAll(st.site.dir); err != nil {
		t.Fatal(err)
	}
	st.site = next
	return done
}

// count plays a scene unhurt, and returns how many changes the victim made.
func (st *stage) count(t *testing.T, s *site, sc scene) tally {
	t.Helper()
	w := &watch{root: s.path(st.victim.String())}
	r, err := st.play(w, s, sc, killed, 0)
	seen, _, _ := w.outcome()
	if err == nil && r.code != 0 {
		err = r.failed("it ends with %d", r.code)
	}
	s.killAgents()
	if err = errors.Join(err, s.company.end(), s.stop(syscall.SIGTERM)); err != nil {
		t.Fatalf("%v, %s, with nobody hurt: %v", st.victim, sc.name, err)
	}
	if seen[killed] == 0 && !sc.still && !(sc.local && st.victim == server) {
		t.Errorf("%v, %s: it changes nothing: does the watch still work?", st.victim, sc.name)
	}
	return seen
}

// play runs a scene's command with the victim hurt.
func (st *stage) play(w *watch, s *site, sc scene, h harm, at int) (result, error) {
	if st.victim == device {
		return s.hurtDevice(w, sc, h, at)
	}
	return s.hurtServer(w, sc, h, at)
}

// hurt plays a scene on a copy, hurting the victim at a change, then plays it as
// it should be, and checks what came of it. It returns how many changes there were
// to be hurt each way, and whether one was.
func (st *stage) hurt(t *testing.T, sc scene, h harm, at int) (seen tally, hit bool) {
	t.Helper()
	s := st.another(t)
	w := &watch{root: s.path(st.victim.String())}
	r, err := st.play(w, s, sc, h, at)
	seen, hit, first := w.outcome()
	w.arm(h, 0)
	if err == nil {
		err = s.goOn(sc, r)
	}
	s.leave()
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
	if err := s.begin(sc); err != nil {
		return result{}, err
	}
	w.arm(h, at)
	return s.run(w, sc.command())
}

// begin begins what other devices do during a scene, unless they do it already.
func (s *site) begin(sc scene) error {
	if sc.beside == nil || s.company != nil {
		return nil
	}
	s.company = newCompany(s)
	return sc.beside(s.company)
}

// hurtServer runs a command while the server is hurt. One that was killed stays
// away for a moment, and the disk stays full for one: a command may wait for it.
func (s *site) hurtServer(w *watch, sc scene, h harm, at int) (result, error) {
	if err := s.start(w); err != nil {
		return result{}, err
	}
	if err := s.begin(sc); err != nil {
		return result{}, err
	}
	w.arm(h, at)
	ended, mended := make(chan struct{}), make(chan error)
	go func() { mended <- s.mend(w, h, ended) }()
	r, err := s.run(nil, sc.command())
	close(ended)
	return r, errors.Join(err, <-mended)
}

// mendAfter is for how long a command finds a server that was hurt.
const mendAfter = 300 * time.Millisecond

// mend makes the server whole some time after it was hurt, or when the command has
// ended.
func (s *site) mend(w *watch, h harm, ended <-chan struct{}) error {
	hurt := func() bool { _, hit, _ := w.outcome(); return hit }
	for over := false; !hurt() && !over; {
		select {
		case <-ended:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !hurt() {
		return nil
	}
	select {
	case <-ended:
	case <-time.After(mendAfter):
	}
	if h == full {
		w.room()
		return nil
	}
	return errors.Join(s.stop(syscall.SIGKILL), s.start(nil)) // it is dying already
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
	if err := s.company.end(); err != nil {
		return err
	}
	s.company = nil
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
	if err := s.begin(sc); err != nil {
		return err
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
	// Nobody may take the copy for the real thing: it has the same address.
	s.company.kill()
	s.company = nil
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
	copied.leave()
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
		for _, at := range picks(everyHarm(0)[h], changes[h]) {
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
	s := st.another(t)
	w := &watch{root: s.path("server")}
	w.arm(h, at)
	begun := s.start(w)
	seen, hit, first := w.outcome()
	w.arm(h, 0)
	err := begun
	if hit || begun == nil {
		err = s.goOn(sc, result{code: -1})
	}
	s.leave()
	if err != nil {
		t.Errorf("the server's first start was %v at change %d, %v.\nIt said: %v\nAnd then: %v\nAll of it is in %s", h, at, first, begun, err, keep(s.dir))
		st.failed++
	}
	return seen, hit
}
