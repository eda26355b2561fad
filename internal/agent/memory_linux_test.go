package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/memory"
	"zeropass.dev/zeropass/signing"
)

// TestMain is the agent's own process where a test started it for that.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ZEROPASS_TEST_AGENT"); dir != "" {
		if err := agentProcess(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// agentProcess does what the program does, and stays when the agent has locked.
// It tells its standard output how far it is, and waits for a line in between.
func agentProcess(dir string) error {
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	if err := memory.Harden(); err != nil {
		return err
	}
	l, err := Listen(dir)
	if err != nil {
		return err
	}
	secret := os.NewFile(3, "secret")
	a, err := New(dir, secret, time.Hour)
	if err != nil {
		return err
	}
	_ = secret.Close()
	fmt.Println("serving")
	if err := a.Serve(context.Background(), l); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = in.ReadString('\n')
	return err
}

// process is an agent whose memory can be read: its files were opened before it
// hid itself, as its parent may on every system, root or not.
type process struct {
	t         *testing.T
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	mem, maps *os.File
}

func startProcess(t *testing.T, h *home.Home) *process {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	defer func() { _, _ = r.Close(), w.Close() }()
	secret, err := h.DeviceSecret()
	check(t, err)
	_, err = w.Write(secret)
	check(t, err)
	check(t, w.Close())

	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), "ZEROPASS_TEST_AGENT="+h.Dir(), "GODEBUG="+memory.Clobber)
	p.cmd.ExtraFiles = []*os.File{r}
	p.in, err = p.cmd.StdinPipe()
	check(t, err)
	out, err := p.cmd.StdoutPipe()
	check(t, err)
	p.out = bufio.NewReader(out)
	check(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	p.expect("ready")
	open := func(name string) *os.File {
		f, err := os.Open(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
		check(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	p.mem, p.maps = open("mem"), open("smaps")
	_, err = io.WriteString(p.in, "go\n")
	check(t, err)
	p.expect("serving")
	return p
}

func (p *process) expect(line string) {
	p.t.Helper()
	if got, err := p.out.ReadString('\n'); err != nil || got != line+"\n" {
		p.t.Fatalf("the agent said %q, %v; not %q", got, err, line)
	}
}

// region is a part of the process's memory.
type region struct {
	start, end int64
	readable   bool
	locked     bool // and left out of dumps
}

func (p *process) regions() []region {
	p.t.Helper()
	_, err := p.maps.Seek(0, io.SeekStart)
	check(p.t, err)
	var all []region
	lines := bufio.NewScanner(p.maps)
	for lines.Scan() {
		var r region
		var mode string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &r.start, &r.end, &mode); n == 3 {
			r.readable = mode[0] == 'r' && !strings.HasSuffix(lines.Text(), "[vvar]") && !strings.HasSuffix(lines.Text(), "[vsyscall]") && !strings.HasSuffix(lines.Text(), "[vvar_vclock]")
			all = append(all, r)
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok {
			words := strings.Fields(flags)
			all[len(all)-1].locked = slices.Contains(words, "dd") && slices.Contains(words, "lo")
		}
	}
	check(p.t, lines.Err())
	return all
}

// find counts where a secret is: in pages that are locked and never dumped, and
// anywhere else.
func (p *process) find(secret []byte) (locked, elsewhere int) {
	p.t.Helper()
	var read int64
	for _, r := range p.regions() {
		if !r.readable {
			continue
		}
		b := make([]byte, r.end-r.start)
		n, err := p.mem.ReadAt(b, r.start)
		if err != nil && n == 0 {
			continue // a page that was given back meanwhile
		}
		read += int64(n)
		if found := bytes.Count(b[:n], secret); r.locked {
			locked += found
		} else {
			elsewhere += found
		}
	}
	if read < 1<<20 {
		p.t.Fatalf("only %d bytes of the agent's memory could be read", read)
	}
	return locked, elsewhere
}

// An agent that has worked has the device secret in a locked page and nothing of
// what passed through it anywhere; one that has locked has nothing.
func TestMemory(t *testing.T) {
	h := newHome(t)
	secret, err := h.DeviceSecret()
	check(t, err)
	canary := []byte("canary-" + rand.Text())
	check(t, h.PutPending("before", canary))
	keys, err := h.Keys()
	check(t, err)
	generation, err := aead.GenerateKey(rand.Reader)
	check(t, err)
	metadata := generation.Bytes()
	info := signing.Sealing{Kind: "metadata-key", Object: []byte("generation/1")}.Context().Encode()
	sealed, err := hpke.Seal(rand.Reader, keys.Seal.PublicKey(), info, nil, metadata)
	check(t, err)
	signKey, sealKey := keys.Sign.(*signing.PrivateKey).Bytes(), keys.Seal.(*hpke.PrivateKey).Bytes()

	p := startProcess(t, h)
	check(t, h.Close())
	work(t, h.Dir(), canary, info, sealed, metadata)

	secrets := map[string][]byte{
		"the passphrase": passphrase, "a secret that passed through": canary, "a metadata key that passed through": metadata,
		"the sign key": signKey, "the seal key": sealKey,
	}
	// What was garbage is overwritten within a moment.
	deadline := time.Now().Add(10 * time.Second)
	for name, s := range secrets {
		for {
			locked, elsewhere := p.find(s)
			if locked == 0 && elsewhere == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s is in the memory of an agent at rest, %d times", name, locked+elsewhere)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if locked, elsewhere := p.find(secret); locked != 1 || elsewhere != 0 {
		t.Errorf("the device secret is %d times in locked pages and %d times elsewhere", locked, elsewhere)
	}

	c, err := Dial(h.Dir())
	check(t, err)
	check(t, c.Lock())
	p.expect("locked")
	secrets["the device secret"] = secret
	for name, s := range secrets {
		if locked, elsewhere := p.find(s); locked+elsewhere != 0 {
			t.Errorf("%s is in the memory of a locked agent, %d times", name, locked+elsewhere)
		}
	}
}

// work lets the agent do everything, several times and at once.
func work(t *testing.T, dir string, canary, info, sealed, metadata []byte) {
	t.Helper()
	h, err := home.Open(dir)
	check(t, err)
	defer func() { _ = h.Close() }()
	c, err := Dial(dir)
	check(t, err)
	check(t, h.UnlockWith(c))
	keys, err := h.Keys()
	check(t, err)
	failed := make(chan error, 4)
	for i := range cap(failed) {
		go func() {
			failed <- func() error {
				for range 10 {
					if b, err := h.Pending("before"); err != nil || !bytes.Equal(b, canary) {
						return fmt.Errorf("a pending secret: %w", err)
					}
					if err := h.PutPrivate(fmt.Sprint("copy-", i), canary); err != nil {
						return err
					}
					if b, err := keys.Seal.Open(info, nil, sealed); err != nil || !bytes.Equal(b, metadata) {
						return fmt.Errorf("a sealed key: %w", err)
					}
					if _, err := keys.Sign.SignContext(signing.NewContext("entry").Uint(uint64(i))); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range cap(failed) {
		check(t, <-failed)
	}
}

// Whoever runs as the same user cannot read the agent's memory or stop it for a
// debugger. Only root can, which tests may be.
func TestMemoryIsHidden(t *testing.T) {
	h := newHome(t)
	p := startProcess(t, h)
	info, err := os.Stat(filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "mem"))
	check(t, err)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	check(t, err)
	if !bytes.Contains(limits, []byte("Max core file size        0                    0 ")) {
		t.Errorf("core dumps are on:\n%s", limits)
	}
	if owner := ownerOf(info); owner != 0 {
		t.Errorf("user %d may open the memory", owner)
	}
}

func ownerOf(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
