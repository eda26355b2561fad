package device

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// Options is what a device works with. The zero Options are those of a program
// in daily use, without progress and without a second factor.
type Options struct {
	Rand io.Reader        // crypto/rand.Reader if nil; read from several goroutines
	Now  func() time.Time // time.Now if nil
	HTTP *http.Client     // one of its own if nil

	// Progress is told how far long work has come. It may be nil.
	Progress func(Progress)

	// Waiting is told once that an operation waits for other devices, who may
	// answer and until when. It may be nil. It may call [Device.Pending],
	// [Device.ConfirmPending] and [Device.RefusePending] of the same device: so two
	// devices that wait for each other come to an end.
	Waiting func(Waiting)

	// Moved is told that the server has moved and that the device goes there from
	// now on. It may be nil, and may be called from any operation that asks the
	// server.
	Moved func(Move)

	// ConfirmPassphrase asks for the passphrase of the confirm key, once, when an
	// operation first needs it. The device erases what it returns. Without it,
	// operations that need a second factor fail.
	ConfirmPassphrase func() ([]byte, error)
}

// Progress is how far a piece of work has come.
type Progress struct {
	Step  string // "splitting and sealing", for example
	Done  int
	Total int // 0 if nobody knows
}

func (o Options) withDefaults() Options {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Waiting == nil {
		o.Waiting = func(Waiting) {}
	}
	if o.Moved == nil {
		o.Moved = func(Move) {}
	}
	return o
}

// Device is one device of an account, unlocked. Its operations are called one
// after the other.
type Device struct {
	o      Options
	home   *home.Home
	keys   *home.Keys
	client *client.Client
	server *signing.PublicKey // pinned

	moving sync.Mutex // one operation at a time follows the server

	receipts []*recordv1.ShareReceipt // valid, and not in the ledger yet

	mu          sync.Mutex // guards what follows: bulk work asks for keys from many goroutines
	confirm     *signing.PrivateKey
	generations map[uint64]*seed.Generation
	masters     map[uint64]*seed.MasterPublicKey
}

// Open opens a device's directory and unlocks it. It does not need the server.
func Open(ctx context.Context, dir string, passphrase []byte, o Options) (*Device, error) {
	return OpenWith(ctx, dir, func(h *home.Home) error { return h.Unlock(passphrase) }, o)
}

// OpenWith is Open for a program that has another way to unlock a home than the
// passphrase, or several. It returns the errors of unlock, explained.
func OpenWith(ctx context.Context, dir string, unlock func(*home.Home) error, o Options) (*Device, error) {
	if err := ctx.Err(); err != nil {
		return nil, explain(err, "open the directory")
	}
	h, err := home.Open(dir)
	if err != nil {
		return nil, openError(dir, err)
	}
	d, err := unlocked(h, unlock, o)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	if d.joining() {
		_ = h.Close()
		return nil, failure(CodeNotYet, ErrJoining, "run zeropass device add again with the same directory; it goes on where it stopped",
			"the device in %s waits to be added to %s", dir, h.Config().GetName())
	}
	if d.home.State() == nil && !d.recovering() {
		_ = h.Close()
		return nil, failure(CodeHome, home.ErrMissing, "run zeropass init again with the same directory; it goes on where it stopped",
			"the account in %s is not finished", dir)
	}
	return d, nil
}

// HintDamaged is what to do about a damaged directory.
const HintDamaged = "keep a copy of the directory, then run: zeropass repair; what it cannot mend, zeropass-recover may still read"

func openError(dir string, err error) error {
	switch {
	case errors.Is(err, home.ErrMissing):
		return failure(CodeHome, err, "make an account with zeropass init, or name another directory with --home", "there is no account in %s", dir)
	case errors.Is(err, home.ErrBusy):
		return failure(CodeHome, err, "wait until the other zeropass has ended, or end it with Ctrl-C; one that waits for another device withdraws its request then", "another zeropass is working in %s", dir)
	case errors.Is(err, home.ErrDamaged):
		return &Error{Code: CodeHome, Message: err.Error(), Hint: HintDamaged, Err: err}
	case errors.Is(err, home.ErrPermissions):
		return &Error{Code: CodeHome, Message: err.Error(), Err: err}
	}
	return explain(err, "open "+dir)
}

// unlock makes a device of an open home.
func unlock(h *home.Home, passphrase []byte, o Options) (*Device, error) {
	return unlocked(h, func(h *home.Home) error { return h.Unlock(passphrase) }, o)
}

// unlocked makes a device of an open home with any way to unlock it.
func unlocked(h *home.Home, unlock func(*home.Home) error, o Options) (*Device, error) {
	if err := unlock(h); err != nil {
		if errors.Is(err, home.ErrPassphrase) {
			return nil, failure(CodePassphrase, err, "it is the one that was chosen for this device, not the confirm passphrase",
				"this is not the passphrase of %s", h.Dir())
		}
		return nil, explain(err, "unlock "+h.Dir())
	}
	keys, err := h.Keys()
	if err != nil {
		return nil, explain(err, "read the keys in "+h.Dir())
	}
	d := &Device{o: o.withDefaults(), home: h, keys: keys}
	d.forgetKeys()
	config := h.Config()
	if d.server, err = signing.NewPublicKey(config.GetServer().GetSignKey()); err != nil {
		return nil, explain(err, "read the server's key in "+h.Dir())
	}
	if d.client, err = client.New(d.o.HTTP, config.Url, d.server, d.o.Rand, d.o.Now); err != nil {
		return nil, explain(err, "reach the server of "+h.Dir())
	}
	d.client.OnMoved(d.follow)
	return d, nil
}

// Close erases all keys and lets go of the directory.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.confirm != nil {
		d.confirm.Erase()
		d.confirm = nil
	}
	for _, g := range d.generations {
		g.Erase()
	}
	d.mu.Unlock()
	d.forgetKeys()
	return d.home.Close()
}

// Dir returns the device's directory.
func (d *Device) Dir() string { return d.home.Dir() }

// Name returns the account's name.
func (d *Device) Name() string { return d.home.Config().GetName() }

// Account returns the account's id.
func (d *Device) Account() ledger.AccountID { return d.keys.Account }

// Head returns the newest entry of the device's own ledger.
func (d *Device) Head() ledger.Head {
	if s := d.home.State(); s != nil {
		return s.Head()
	}
	return ledger.Head{}
}

// identity is who signs requests.
func (d *Device) identity() api.Identity {
	who := api.Identity{Device: d.keys.Device, Key: d.keys.Sign}
	if d.keys.Account != (ledger.AccountID{}) {
		who.Account = &d.keys.Account
	}
	return who
}

// forgetKeys drops keys that were opened, when the ledger may have others.
func (d *Device) forgetKeys() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generations = map[uint64]*seed.Generation{}
	d.masters = map[uint64]*seed.MasterPublicKey{}
}

// generation returns the keys of a key generation, opened with the device's seal
// key. The device keeps them until it is closed; DeviceShare is nil where nobody
// has it any more.
func (d *Device) generation(s *ledger.State, number uint64) (*seed.Generation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.generations[number]; g != nil {
		return g, nil
	}
	metadata, deviceShare, author, ok := s.GenerationKeys(number, d.keys.Device)
	if !ok {
		return nil, fmt.Errorf("device: key generation %d is not sealed to device %d", number, d.keys.Device)
	}
	g := &seed.Generation{Number: number}
	var err error
	if g.Metadata, err = seed.OpenMetadataKey(d.keys.Seal, d.keys.Account, number, author, d.keys.Device, metadata); err != nil {
		return nil, err
	}
	if deviceShare != nil {
		g.DeviceShare, err = seed.OpenDeviceShareKey(d.keys.Seal, d.keys.Account, number, author, d.keys.Device, deviceShare)
		if err != nil {
			g.Erase()
			return nil, err
		}
	}
	d.generations[number] = g
	return g, nil
}

// allGenerations returns the keys of all generations, in ascending order.
func (d *Device) allGenerations(s *ledger.State) ([]*seed.Generation, error) {
	var all []*seed.Generation
	for number := uint64(1); number <= s.Generation(); number++ {
		g, err := d.generation(s, number)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// master returns the master public key of an epoch.
func (d *Device) master(s *ledger.State, epoch *ledger.Epoch) (*seed.MasterPublicKey, error) {
	g, err := d.generation(s, epoch.Record.Generation)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.masters[epoch.Number]; m != nil {
		return m, nil
	}
	m, err := seed.OpenMaster(g.Metadata, d.keys.Account, epoch.Record, epoch.Author)
	if err != nil {
		return nil, err
	}
	d.masters[epoch.Number] = m
	return m, nil
}

// confirmKey asks for the confirm key's passphrase once.
func (d *Device) confirmKey() (*signing.PrivateKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.confirm != nil {
		return d.confirm, nil
	}
	if d.o.ConfirmPassphrase == nil {
		return nil, failure(CodeUsage, nil, "give the confirm passphrase", "this needs the second factor of the device")
	}
	passphrase, err := d.o.ConfirmPassphrase()
	if err != nil {
		return nil, explain(err, "ask for the confirm passphrase")
	}
	defer clear(passphrase)
	key, err := d.home.ConfirmKey(passphrase)
	if errors.Is(err, home.ErrPassphrase) {
		return nil, failure(CodePassphrase, err, "it is the second of the two that were chosen for this device", "this is not the confirm passphrase of %s", d.Dir())
	}
	if err != nil {
		return nil, explain(err, "open the confirm key")
	}
	d.confirm = key
	return key, nil
}

// where is the pinned server with the address at which it is reached now: the
// ledger's is that of the day when the account was made.
func (d *Device) where() *recordv1.Server {
	s := proto.CloneOf(d.pinned())
	s.Url = d.home.Config().GetUrl()
	return s
}

// pinned returns the server as the account's ledger names it, or as it was
// pinned before there is a ledger.
func (d *Device) pinned() *recordv1.Server {
	if s := d.home.State(); s != nil {
		return s.Server()
	}
	return d.home.Config().GetServer()
}
