package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"zeropass.dev/zeropass/internal/powerloss"
)

// operator is somebody who gives zeropass-server commands over data that families
// have written. The copies of these, and what the commands write, are on a disk.
type operator struct {
	programs
	dir      string
	place    string // the disk
	accounts string // what account list prints
	identity string // file that opens backups
	to       string // recipient of backups
	disk     *powerloss.Mounted
}

// operation is a command, and what must be so after a power cut.
type operation struct {
	name  string
	args  func(o *operator) []string
	check func(o *operator, done bool, printed string) error
}

var operations = []operation{
	{"backup", func(o *operator) []string {
		return []string{"backup", "--data", o.at("data"), "--output", o.at("backup"), "--recipient", o.to}
	}, (*operator).backupIsWhole},
	{"restore", (*operator).restoreArgs, (*operator).restoreIsWhole},
	{"keys add", func(o *operator) []string { return []string{"keys", "add", "--key-file", o.at("etc/keys")} }, func(o *operator, done bool, printed string) error {
		list, err := o.run("keys", "list", "--key-file", o.at("etc/keys"), "--data", o.at("data"))
		if lines := strings.Count(list, "\n"); done && lines < 2 {
			err = errors.Join(err, lost("a key that was added: %s", list))
		}
		return errors.Join(err, o.whole("data"))
	}},
	{"keys rotate", func(o *operator) []string {
		return []string{"keys", "rotate", "--key-file", o.at("etc/keys"), "--data", o.at("data")}
	}, func(o *operator, done bool, printed string) error {
		_, err := o.run("keys", "rotate", "--key-file", o.at("etc/keys"), "--data", o.at("data"))
		return errors.Join(o.whole("data"), err, o.whole("data"))
	}},
}

// What an operator's commands were ended with is there after a power cut, and what
// was interrupted is whole or not there.
func TestOperatorPowerCut(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(theSeed(), 5<<32))
	o := newOperator(t, built(t), chance)
	done, ended := 0, 0
	var failed error
	conclude(t, func() outcome {
		return outcome{hurt: "power cuts, in an operator's commands", times: int64(done), acknowledged: int64(ended), lost: losses(failed)}
	})
	for range max(1, *cuts/150) {
		for _, op := range operations {
			for _, after := range []int{1 + chance.IntN(12), 1 + chance.IntN(200), 1 << 30} {
				ok, how, err := o.cut(t, op, after, chance.Uint64())
				if done++; ok {
					ended++
				}
				if failed = err; err != nil {
					t.Fatalf("seed %d: %s, power cut at change %d (%s), ended before: %v: %v", theSeed(), op.name, after, how, ok, err)
				}
			}
		}
	}
	t.Logf("%d power cuts in commands of an operator, %d of them after they had ended; seed %d", done, ended, theSeed())
}

// newOperator has families write to a server, and stops it.
func newOperator(t *testing.T, p programs, chance *rand.Rand) *operator {
	t.Helper()
	dir := t.TempDir()
	o := &operator{programs: p, dir: dir, place: filepath.Join(dir, "disk"), identity: filepath.Join(dir, "identity")}
	s := newStation(p, filepath.Join(dir, "before"), chance)
	t.Cleanup(s.end)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	o.to = identity.Recipient().String()
	if err := errors.Join(os.WriteFile(o.identity, []byte(identity.String()+"\n"), 0o600), os.MkdirAll(s.place, 0o700), s.prepare(), s.up(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), func() bool { return s.wire.acked.Load() < 60 }); err != nil {
		t.Fatal(err)
	}
	s.kill()
	if err := s.gone(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.run("backup", "--data", s.data(), "--output", filepath.Join(dir, "backup"), "--recipient", o.to); err != nil {
		t.Fatal(err)
	}
	if o.accounts, err = o.run("account", "list", "--data", s.data()); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operator) at(name string) string { return filepath.Join(o.place, name) }

// run runs a command that must succeed.
func (o *operator) run(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(o.programs.dir, "zeropass-server"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%v: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// cut gives a command on a new disk, and cuts its power. It says whether the command
// had ended well before.
func (o *operator) cut(t *testing.T, op operation, after int, seed uint64) (done bool, how string, err error) {
	t.Helper()
	if o.disk, err = powerloss.Mount(powerloss.New(seed), o.place); err != nil {
		return false, "", err
	}
	defer func() { o.disk.Unmount() }()
	if err := copyTree(filepath.Join(o.dir, "before", "server"), o.place); err != nil {
		return false, "", err
	}
	if op.name == "keys rotate" {
		if _, err := o.run("keys", "add", "--key-file", o.at("etc/keys")); err != nil {
			return false, "", err
		}
	}
	o.disk.SyncAll()
	var out strings.Builder
	cmd := exec.Command(filepath.Join(o.programs.dir, "zeropass-server"), op.args(o)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return false, "", err
	}
	o.disk.CutAfter(after, func() { _ = cmd.Process.Kill() })
	done = cmd.Wait() == nil
	if !done && !o.disk.IsCut() {
		return false, "", errors.New(out.String())
	}
	o.disk.Unmount()
	next, how := o.disk.AfterPowerCut()
	if o.disk, err = powerloss.Mount(next, o.place); err != nil {
		return done, how, err
	}
	return done, how, op.check(o, done, out.String())
}

// whole says whether zeropass-server check finds all accounts.
func (o *operator) whole(data string) error {
	accounts, err := o.run("account", "list", "--data", o.at(data))
	if err == nil && accounts != o.accounts {
		err = lost("accounts: there are\n%sand were\n%s", accounts, o.accounts)
	}
	if err == nil {
		_, err = o.run("check", "--data", o.at(data), "--key-file", o.at("etc/keys"))
	}
	return err
}

func (o *operator) backupIsWhole(done bool, _ string) error {
	_, err := os.Stat(o.at("backup"))
	if errors.Is(err, os.ErrNotExist) && !done {
		return nil
	}
	if err != nil {
		return lost("the backup: %v", err)
	}
	_, err = o.run("restore", "--input", o.at("backup"), "--identity", o.identity, "--data", o.at("restored"), "--key-file", o.at("etc/keys"))
	return errors.Join(err, o.whole("restored"))
}

func (o *operator) restoreArgs() []string {
	return []string{"restore", "--input", filepath.Join(o.dir, "backup"), "--identity", o.identity, "--data", o.at("new/restored"), "--key-file", o.at("etc/keys")}
}

func (o *operator) restoreIsWhole(done bool, _ string) error {
	if _, err := os.Stat(o.at("new/restored/zeropass.db")); err != nil {
		if done {
			return lost("what was restored: %v", err)
		}
		if _, err := o.run(o.restoreArgs()...); err != nil {
			return err
		}
	}
	return o.whole("new/restored")
}
