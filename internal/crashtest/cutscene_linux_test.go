package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"zeropass.dev/zeropass/internal/powerloss"
)

// sceneCuts is how often the devices' power is cut in each scene.
var sceneCuts = flag.Int("scene-cuts", 0, "cut the devices' power so many times in every scene; 0 does it once in some")

// everyNthScene is played with a power cut if nothing else is asked for.
const everyNthScene = 4

// cutPower plays a scene on copies whose devices are on a disk that loses power at
// one of the changes, or just after the last.
func (st *stage) cutPower(t *testing.T, sc scene, number, changes int) {
	t.Helper()
	count := *sceneCuts
	if count == 0 && number%everyNthScene == 0 {
		count = 1
	}
	chance := rand.New(rand.NewPCG(theSeed(), 4<<32+uint64(number)))
	for range count {
		at := 1 + chance.IntN(changes+1)
		s := st.another(t)
		how, r, err := s.playCut(sc, powerloss.New(chance.Uint64()), at)
		if err != nil {
			t.Errorf("%s: the device's power was cut at change %d of about %d (%s).\nThe command ended with %d:\n%s%s\nAnd then: %v\nAll of it is in %s",
				sc.name, at, changes, how, r.code, r.stdout, r.stderr, err, keep(s.dir))
			st.failed++
			continue
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	}
}

// playCut plays a scene until the power of the devices' disk is cut, and goes on
// with what is left.
func (s *site) playCut(sc scene, disk *powerloss.Disk, at int) (how string, r result, err error) {
	plain := s.path("before")
	if err := os.Rename(s.path("device"), plain); err != nil {
		return "", r, err
	}
	d, err := powerloss.Mount(disk, s.path("device"))
	if err != nil {
		return "", r, err
	}
	defer func() {
		s.leave()
		if err != nil { // what is left is evidence
			err = errors.Join(err, os.Mkdir(s.path("after"), 0o700), copyTree(s.path("device"), s.path("after")))
		}
		d.Unmount()
	}()
	if err := errors.Join(copyTree(plain, s.path("device")), s.start(nil)); err != nil {
		return "", r, err
	}
	d.SyncAll()
	d.CutAfter(at, func() {
		if p := s.command.Load(); p != nil {
			_ = p.Kill()
		}
	})
	if r, err = s.run(nil, sc.command()); err != nil && !d.IsCut() {
		return "", r, err
	}
	s.killAgents()
	d.Unmount()
	next, how := d.AfterPowerCut()
	if d, err = powerloss.Mount(next, s.path("device")); err != nil {
		return how, r, err
	}
	return how, r, s.goOn(sc, r)
}

// copyTree copies what is in a directory into another one that is there. Another
// process does it: one that has a file open on a disk that it serves itself must not
// start processes, whose end of that file it would have to answer for.
func copyTree(from, to string) error {
	out, err := exec.Command("cp", "-a", from+"/.", to+"/").CombinedOutput()
	if err != nil {
		return fmt.Errorf("copying %s: %w\n%s", from, err, out)
	}
	return nil
}
