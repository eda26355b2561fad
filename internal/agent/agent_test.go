package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"zeropass.dev/zeropass/credential"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// passphrase is another one in each process, so that its own memory alone has it.
var passphrase = []byte(rand.Text())

// newHome makes a home and a directory for sockets.
func newHome(t *testing.T) *home.Home {
	t.Helper()
	runtime, err := os.MkdirTemp("", "agent") // t.TempDir is too long a path for a socket
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	h, err := home.Create(filepath.Join(t.TempDir(), "home"), home.Creation{
		Passphrase: passphrase, ConfirmPassphrase: []byte("the second"), WorkFactor: 1, Rand: rand.Reader,
	})
	check(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs an agent of the home in this process, until the test ends.
func start(t *testing.T, h *home.Home, idle time.Duration) (*Agent, <-chan error) {
	t.Helper()
	secret, err := h.DeviceSecret()
	check(t, err)
	l, err := Listen(h.Dir())
	check(t, err)
	a, err := New(h.Dir(), bytes.NewReader(secret), idle)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, l); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return a, ended
}

func dial(t *testing.T, h *home.Home) *Client {
	t.Helper()
	c, err := Dial(h.Dir())
	check(t, err)
	t.Cleanup(c.Erase)
	return c
}

// What the agent does is what the keys in this process do.
func TestHolder(t *testing.T) {
	h := newHome(t)
	start(t, h, time.Minute)
	c := dial(t, h)
	own, err := h.Keys()
	check(t, err)
	keys, err := c.Keys()
	check(t, err)
	if !keys.Sign.PublicKey().Equal(own.Sign.PublicKey()) || !keys.Seal.PublicKey().Equal(own.Seal.PublicKey()) {
		t.Error("the agent has other keys")
	}
	context := signing.NewContext("entry").Bytes([]byte("body"))
	signature, err := keys.Sign.SignContext(context)
	check(t, err)
	if !own.Sign.PublicKey().Verify(context, signature) {
		t.Error("the agent's signature does not verify")
	}
	info := signing.Sealing{Kind: "seed-half"}.Context().Encode()
	sealed, err := hpke.Seal(rand.Reader, own.Seal.PublicKey(), info, nil, []byte("half"))
	check(t, err)
	if opened, err := keys.Seal.Open(info, nil, sealed); err != nil || string(opened) != "half" {
		t.Errorf("opened %q, %v", opened, err)
	}
	sealed[70] ^= 1
	if _, err := keys.Seal.Open(info, nil, sealed); !errors.Is(err, hpke.ErrOpen) {
		t.Errorf("a changed message: %v", err)
	}
}

// A home that is unlocked by its agent reads and writes what the other one does.
func TestHomeWithAgent(t *testing.T) {
	h := newHome(t)
	check(t, h.PutPrivate("book", []byte("before")))
	start(t, h, time.Minute)
	c := dial(t, h)
	check(t, h.Close())
	h, err := home.Open(h.Dir())
	check(t, err)
	defer func() { _ = h.Close() }()
	check(t, h.UnlockWith(c))
	if b, err := h.Private("book"); err != nil || string(b) != "before" {
		t.Errorf("read %q, %v", b, err)
	}
	check(t, h.PutPrivate("book", []byte("after")))
	check(t, h.PutPending("one", []byte("a secret")))
	check(t, h.SetIdentity(ledger.AccountID{7}, 3))
	if _, err := h.DeviceSecret(); !errors.Is(err, home.ErrLocked) {
		t.Errorf("the device secret: %v", err)
	}
	if err := h.ChangePassphrase([]byte("another"), 1); !errors.Is(err, home.ErrLocked) {
		t.Errorf("another passphrase: %v", err)
	}
	check(t, h.Close())

	h, err = home.Open(h.Dir())
	check(t, err)
	defer func() { _ = h.Close() }()
	check(t, h.Unlock(passphrase))
	keys, err := h.Keys()
	check(t, err)
	if keys.Account != (ledger.AccountID{7}) || keys.Device != 3 {
		t.Errorf("device %d of %v", keys.Device, keys.Account)
	}
	if b, err := h.Private("book"); err != nil || string(b) != "after" {
		t.Errorf("read %q, %v", b, err)
	}
	// The same agent has what was changed.
	again, err := dial(t, h).Keys()
	check(t, err)
	if again.Device != 3 {
		t.Errorf("the agent says device %d", again.Device)
	}
}

func TestRefuses(t *testing.T) {
	h := newHome(t)
	start(t, h, time.Minute)
	keysFile, err := os.ReadFile(filepath.Join(h.Dir(), "keys"))
	check(t, err)
	entry := signing.NewContext("entry").Bytes([]byte("body")).Encode()
	for name, f := range map[string]frame{
		"the private keys":                {version, opOpenFile, [][]byte{[]byte("keys"), keysFile}},
		"the private keys by another way": {version, opOpenFile, [][]byte{[]byte("private/../keys"), keysFile}},
		"other private keys":              {version, opSealFile, [][]byte{[]byte("keys"), keysFile}},
		"another confirm key":             {version, opSealFile, [][]byte{[]byte("confirm-key"), nil}},
		"a journal":                       {version, opSealFile, [][]byte{[]byte("pending/append"), nil}},
		"to sign no context":              {version, opSign, [][]byte{[]byte("hello")}},
		"to sign a cut context":           {version, opSign, [][]byte{entry[:len(entry)-1]}},
		"to sign the server's answer":     {version, opSign, [][]byte{signing.NewContext("api-answer").Encode()}},
		"to sign a share's receipt":       {version, opSign, [][]byte{signing.NewContext("share-receipt").Encode()}},
		"to open what is for a slot key":  {version, opOpen, [][]byte{signing.NewContext("credential-share").Encode(), keysFile}},
		"an unknown operation":            {version, 99, nil},
		"no operation":                    {version, 0, nil},
		"too many parts":                  {version, opKeys, [][]byte{nil}},
		"too few parts":                   {version, opSign, nil},
		"a short account":                 {version, opSealKeys, [][]byte{{1}, number(1)}},
		"a long number":                   {version, opSealKeys, [][]byte{make([]byte, 32), make([]byte, 9)}},
		"a short process id":              {version, opBackground, [][]byte{{1}}},
		"a process id of no process":      {version, opBackground, [][]byte{bytes.Repeat([]byte{255}, 8)}},
		"something that does not open":    {version, opOpenFile, [][]byte{[]byte("held"), keysFile}},
		"another version":                 {version + 1, opKeys, nil},
	} {
		answer := exchange(t, h, f)
		if answer.code == done || len(answer.parts) != 1 {
			t.Errorf("%s: result %d, %q", name, answer.code, answer.parts)
		}
	}
	c := dial(t, h)
	keys, err := c.Keys()
	check(t, err)
	if _, err := keys.Seal.Open(entry, []byte("aad"), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("associated data: %v", err)
	}
}

// exchange sends one frame as it is and returns the answer.
func exchange(t *testing.T, h *home.Home, f frame) frame {
	t.Helper()
	c := dial(t, h)
	check(t, send(c.conn, f))
	b, err := receive(c.conn)
	check(t, err)
	answer, err := parseFrame(b)
	check(t, err)
	return answer
}

func TestLock(t *testing.T) {
	for name, lock := range map[string]func(*Agent, *Client) error{
		"by a command": func(_ *Agent, c *Client) error { return c.Lock() },
		"from within":  func(a *Agent, _ *Client) error { a.Lock(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			a, ended := start(t, h, time.Minute)
			busy, c := dial(t, h), dial(t, h)
			keys, err := busy.Keys()
			check(t, err)
			check(t, lock(a, c))
			check(t, <-ended)
			if _, err := keys.Sign.SignContext(signing.NewContext("entry")); !errors.Is(err, home.ErrLocked) {
				t.Errorf("signed by a locked agent: %v", err)
			}
			if _, err := Dial(h.Dir()); !errors.Is(err, ErrNotRunning) {
				t.Errorf("dialled a locked agent: %v", err)
			}
			start(t, h, time.Minute) // its place is free
		})
	}
}

// Use puts the end off, asking for the status does not.
func TestLocksWhenIdle(t *testing.T) {
	h := newHome(t)
	const idle = 600 * time.Millisecond
	_, ended := start(t, h, idle)
	c := dial(t, h)
	began := time.Now()
	for time.Since(began) < 2*idle {
		_, err := c.Keys()
		check(t, err)
		time.Sleep(idle / 6)
	}
	for {
		if _, err := c.Status(); err != nil {
			break
		}
		if time.Since(began) > 20*idle {
			t.Fatal("it does not lock")
		}
		time.Sleep(idle / 20)
	}
	check(t, <-ended)
}

func TestListen(t *testing.T) {
	h := newHome(t)
	l, err := Listen(h.Dir())
	check(t, err)
	if _, err := Listen(h.Dir()); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent: %v", err)
	}
	name, err := socketName(h.Dir())
	check(t, err)
	info, err := os.Stat(name + ".sock")
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	check(t, l.Close())
	check(t, l.Close())

	// A crash leaves the socket and nobody behind it.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: name + ".sock", Net: "unix"})
	check(t, err)
	stale.SetUnlinkOnClose(false)
	check(t, stale.Close())
	if _, err := Dial(h.Dir()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("dialled nobody: %v", err)
	}
	start(t, h, time.Minute)
	if _, err := dial(t, h).Status(); err != nil {
		t.Error(err)
	}

	// A link to the home is the home.
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(h.Dir(), link))
	c, err := Dial(link)
	check(t, err)
	c.Erase()
}

func TestListenRefuses(t *testing.T) {
	h := newHome(t)
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	check(t, os.Mkdir(filepath.Join(runtime, "zeropass"), 0o755))
	if _, err := Listen(h.Dir()); !errors.Is(err, ErrPeer) {
		t.Errorf("a directory that others read: %v", err)
	}
	check(t, os.Remove(filepath.Join(runtime, "zeropass")))
	check(t, os.Symlink(t.TempDir(), filepath.Join(runtime, "zeropass")))
	if _, err := Listen(h.Dir()); !errors.Is(err, ErrPeer) {
		t.Errorf("a link: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(runtime, string(bytes.Repeat([]byte("x"), 100))))
	if _, err := Listen(h.Dir()); err == nil {
		t.Error("a path that is too long for a socket")
	}
}

func TestNewRefuses(t *testing.T) {
	h := newHome(t)
	if a, err := New(h.Dir(), bytes.NewReader(make([]byte, SecretSize)), time.Minute); a != nil || !errors.Is(err, ErrOtherHome) {
		t.Errorf("another secret: %v, %v", a, err)
	}
	if a, err := New(h.Dir(), bytes.NewReader(make([]byte, SecretSize-1)), time.Minute); a != nil || err == nil {
		t.Errorf("half a secret: %v, %v", a, err)
	}
	if a, err := New(t.TempDir(), bytes.NewReader(make([]byte, SecretSize)), time.Minute); a != nil || err == nil {
		t.Errorf("no home: %v, %v", a, err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{version, opOpen, [][]byte{[]byte("info"), nil}}.encode()[4:])
	f.Add(frame{version, opLock, nil}.encode()[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parseFrame(b)
		if err != nil {
			if parsed.parts != nil {
				t.Fatal("parts with an error")
			}
			return
		}
		if !slices.Equal(parsed.encode()[4:], b) {
			t.Fatalf("%x became %x", b, parsed.encode()[4:])
		}
	})
}

// That the agent has locked says nothing of the server, of a share or of a contact,
// and is not taken for it.
func TestLockedIsNobodysFault(t *testing.T) {
	h := newHome(t)
	start(t, h, time.Minute)
	keys, err := dial(t, h).Keys()
	check(t, err)
	check(t, dial(t, h).Lock())
	account := [32]byte{1}
	for name, open := range map[string]func() error{
		"the server's answer": func() error { _, err := api.OpenReveal(keys.Seal, api.RevealPlace{}, nil); return err },
		"a metadata key":      func() error { _, err := seed.OpenMetadataKey(keys.Seal, account, 1, 1, 1, nil); return err },
		"the seed's half":     func() error { _, err := seed.OpenServerHalf(keys.Seal, account, [16]byte{}, 1, nil); return err },
		"a contact's half": func() error {
			_, err := credential.ContactHalf{Account: account, Epoch: 1, Party: credential.Server}.Open(keys.Seal, nil)
			return err
		},
	} {
		if err := open(); !errors.Is(err, home.ErrLocked) || errors.Is(err, api.ErrDishonest) || errors.Is(err, seed.ErrOpen) || errors.Is(err, credential.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What runs in the background does not put off the end, and one at a time is the
// notifier.
func TestBackground(t *testing.T) {
	h := newHome(t)
	const idle = time.Second
	_, ended := start(t, h, idle)
	began := time.Now()
	notifier, polls := dial(t, h), dial(t, h)
	gone, err := notifier.Notifier(4711)
	check(t, err)
	if _, err := dial(t, h).Notifier(4712); !errors.Is(err, ErrNotifying) {
		t.Errorf("a second notifier: %v", err)
	}
	if s, err := polls.Status(); err != nil || s.Notifier != 4711 {
		t.Errorf("%+v, %v", s, err)
	}
	check(t, polls.Background())
	for polling := true; polling; time.Sleep(idle / 20) {
		if _, err := polls.Keys(); errors.Is(err, home.ErrLocked) {
			polling = false
		} else {
			check(t, err)
		}
		if time.Since(began) > 10*idle {
			t.Fatal("it does not lock while something runs in the background")
		}
	}
	check(t, <-ended)
	<-gone

	start(t, h, time.Minute)
	c := dial(t, h)
	_, err = c.Notifier(4711)
	check(t, err)
	c.Erase()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s, err := dial(t, h).Status()
		check(t, err)
		if s.Notifier == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the notifier has ended, and is still named")
		}
	}
	_, err = dial(t, h).Notifier(4712)
	check(t, err)
}
