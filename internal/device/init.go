package device

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// Defaults of a new account.
const (
	DefaultQuorum        = 2
	DefaultMembers       = 3
	DefaultWaitingPeriod = 72 * time.Hour

	defaultRevealsPerHour = 100
	defaultRevealsPerDay  = 500

	maxWaitingPeriod = 365 * 24 * time.Hour
)

// InitOptions is what a new account starts from.
type InitOptions struct {
	secretive

	Dir               string
	ServerURL         string
	Name              string // of the account, 1 to 64 bytes; the server knows it
	DeviceName        string // "first device" if empty; the server does not know it
	Quorum, Members   int    // k of n; 2 of 3 if both are 0
	WaitingPeriod     time.Duration
	Printed           bool // with a printed sheet, which is worth a quorum
	UnlockCost        int  // base-2 logarithm of scrypt's rounds, 0 for the default
	Passphrase        []byte
	ConfirmPassphrase []byte        // must differ
	MousePool         *entropy.Pool // may be nil
	Token             []byte        // 16 bytes from the server's operator, where the server takes new accounts by token
}

// InitResult is the new account.
type InitResult struct {
	Account       ledger.AccountID
	Name          string
	Quorum        int
	Members       int
	WaitingPeriod time.Duration
	Resumed       bool     // an earlier init had begun in this directory
	MouseEvents   int      // movements that went into the seed
	Sources       []string // of the server's half: "os" always, and the physical ones
}

func (i *InitOptions) check() error {
	if i.Quorum == 0 && i.Members == 0 {
		i.Quorum, i.Members = DefaultQuorum, DefaultMembers
	}
	if i.WaitingPeriod == 0 {
		i.WaitingPeriod = DefaultWaitingPeriod
	}
	if i.DeviceName == "" {
		i.DeviceName = "first device"
	}
	if len(i.Name) == 0 || len(i.Name) > api.MaxName || !utf8.ValidString(i.Name) {
		return failure(CodeUsage, nil, "choose another one", "a name has 1 to %d bytes", api.MaxName)
	}
	return cmp.Or(checkQuorum(i.Quorum, i.Members), checkWaitingPeriod(i.WaitingPeriod))
}

func checkQuorum(quorum, members int) error {
	if quorum == 1 && members == 1 || quorum >= 2 && quorum <= members && members <= seed.MaxMembers {
		return nil
	}
	return failure(CodeUsage, nil, "2-of-3 is a good choice", "%d of %d contacts cannot be: 2 to %d of at most %d, or 1-of-1", quorum, members, seed.MaxMembers, seed.MaxMembers)
}

func checkWaitingPeriod(waiting time.Duration) error {
	if waiting >= time.Second && waiting%time.Second == 0 && waiting <= maxWaitingPeriod {
		return nil
	}
	return failure(CodeUsage, nil, "72h is a good choice", "a waiting period has whole seconds, from one to a year's")
}

// initFile keeps what an unfinished init must not forget.
const initFile = "init"

type initState struct {
	Quorum, Members int
	WaitingPeriod   time.Duration
	Printed         bool
	Metadata        []byte // key generation 1, until epoch 1 publishes it
	DeviceShare     []byte
}

// Init makes an account and its first device. If it stopped half-way in the same
// directory, it goes on from there, with the quorum and waiting period of then.
func Init(ctx context.Context, o Options, i InitOptions) (*Device, *InitResult, error) {
	o = o.withDefaults()
	if err := i.check(); err != nil {
		return nil, nil, err
	}
	d, err := openOrCreate(ctx, o, i)
	if err != nil {
		return nil, nil, err
	}
	result, err := d.finishInit(ctx, i)
	if errors.Is(err, api.ErrNameTaken) && d.home.State() == nil {
		// Nothing but unused keys is here, and the next try has another name.
		_ = d.Close()
		if remove := os.RemoveAll(i.Dir); remove != nil {
			return nil, nil, explain(errors.Join(err, remove), "make the account")
		}
		return nil, nil, failure(CodeRefused, err, "choose another name", "the server has an account named %q already", i.Name)
	}
	if err != nil {
		_ = d.Close()
		return nil, nil, explain(err, "make the account")
	}
	return d, result, nil
}

// openOrCreate opens the directory of an unfinished init, or makes a new one.
func openOrCreate(ctx context.Context, o Options, i InitOptions) (*Device, error) {
	h, err := home.Open(i.Dir)
	if errors.Is(err, home.ErrMissing) {
		return create(ctx, o, i.Dir, i.ServerURL, i.Name, home.Creation{
			Passphrase:        i.Passphrase,
			ConfirmPassphrase: i.ConfirmPassphrase,
			WorkFactor:        i.UnlockCost,
		})
	}
	if err != nil {
		return nil, openError(i.Dir, err)
	}
	d, err := unlock(h, i.Passphrase, o)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	if err := d.unfinished(i); err != nil {
		_ = h.Close()
		return nil, err
	}
	if err := d.reachAt(ctx, i.ServerURL); err != nil {
		_ = h.Close()
		return nil, err
	}
	return d, nil
}

// unfinished returns an error unless the directory holds an init of this account
// that can go on.
func (d *Device) unfinished(i InitOptions) error {
	begun, err := load[initState](d, initFile)
	if err != nil {
		return explain(err, "read what was begun in "+i.Dir)
	}
	s := d.home.State()
	config := d.home.Config()
	switch {
	case d.recovering():
		return failure(CodeHome, ErrBefore, "finish it with zeropass recover finish, or name another directory", "%s waits for the recovery of %s", i.Dir, config.Name)
	case d.joining():
		return failure(CodeHome, ErrBefore, "go on with zeropass device add, or name another directory", "%s waits to be added to %s", i.Dir, config.Name)
	case s != nil && begun == nil:
		return failure(CodeHome, ErrBefore, "name another directory with --home, or use this account", "%s holds the account %s already", i.Dir, config.Name)
	case config.Name != i.Name:
		return failure(CodeHome, ErrBefore, "run init with the name "+config.Name+", or name another directory", "an account named %s was begun in %s", config.Name, i.Dir)
	case begun == nil:
		return nil
	case begun.Quorum != i.Quorum || begun.Members != i.Members || begun.WaitingPeriod != i.WaitingPeriod || begun.Printed != i.Printed:
		begun.Quorum, begun.Members, begun.WaitingPeriod, begun.Printed = i.Quorum, i.Members, i.WaitingPeriod, i.Printed
		return d.save(initFile, begun)
	}
	return nil
}

// create asks the server who it is and makes a new directory that pins it.
func create(ctx context.Context, o Options, dir, url, name string, c home.Creation) (*Device, error) {
	server, err := client.Identify(ctx, o.HTTP, url, o.Rand)
	if errors.Is(err, client.ErrURL) {
		return nil, &Error{Code: CodeUsage, Message: err.Error(), Err: err}
	}
	if refusal, ok := errors.AsType[*api.Refusal](err); ok && refusal.Reason == api.ErrMoved {
		return nil, failure(CodeRefused, err, "run the command again with --server "+refusal.URL, "the server at %s has moved to %s", url, refusal.URL)
	}
	if err != nil {
		return nil, explain(err, "ask the server who it is")
	}
	c.Config = &recordv1.HomeConfig{Name: name, Server: server, Url: server.Url}
	c.Rand = o.Rand
	h, err := home.Create(dir, c)
	switch {
	case errors.Is(err, home.ErrSamePassphrase), errors.Is(err, home.ErrPassphrase), errors.Is(err, home.ErrWorkFactor):
		return nil, &Error{Code: CodeUsage, Message: err.Error(), Err: err}
	case errors.Is(err, home.ErrExists):
		return nil, failure(CodeHome, err, "name another directory with --home", "%s holds something else", dir)
	case err != nil:
		return nil, explain(err, "make "+dir)
	}
	d, err := unlock(h, c.Passphrase, o)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	return d, nil
}

func (d *Device) finishInit(ctx context.Context, i InitOptions) (*InitResult, error) {
	begun, err := load[initState](d, initFile)
	if err != nil {
		return nil, err
	}
	result := &InitResult{Name: i.Name, Resumed: begun != nil}
	if begun == nil {
		if begun, err = d.beginInit(i); err != nil {
			return nil, err
		}
	}
	defer clear(begun.Metadata)
	defer clear(begun.DeviceShare)
	g := &seed.Generation{Number: 1}
	if g.Metadata, err = aead.NewKey(begun.Metadata); err != nil {
		return nil, err
	}
	if g.DeviceShare, err = aead.NewKey(begun.DeviceShare); err != nil {
		return nil, err
	}
	defer g.Erase()
	if d.home.State() == nil {
		d.o.Progress(Progress{Step: "making the account", Done: 1, Total: 3})
		if err := d.genesis(ctx, g, i); err != nil {
			return nil, err
		}
	}
	d.o.Progress(Progress{Step: "making and splitting the Private Master Seed", Done: 2, Total: 3})
	err = d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		if s.InUse() != nil {
			return nil, nil
		}
		made, err := d.prepareEpoch(ctx, s, epochOptions{
			quorum: begun.Quorum, members: begun.Members, waiting: begun.WaitingPeriod, sheet: begun.Printed,
			generations: []*seed.Generation{g}, pool: i.MousePool,
		})
		if err != nil {
			return nil, err
		}
		result.Sources = made.sources
		return []transaction{{records: []proto.Message{made.record}, shares: made.shares}}, nil
	})
	if err != nil {
		return nil, err
	}
	d.o.Progress(Progress{Step: "taking the server's receipt", Done: 3, Total: 3})
	if err := d.serverReceipts(ctx); err != nil {
		return nil, err
	}
	if err := d.home.RemovePrivate(initFile); err != nil {
		return nil, err
	}
	epoch := d.home.State().InUse()
	result.Account = d.keys.Account
	result.Quorum, result.Members = epoch.Quorum(), len(epoch.Members)
	result.WaitingPeriod = epoch.WaitingPeriod()
	if i.MousePool != nil {
		result.MouseEvents = i.MousePool.Events()
	}
	return result, nil
}

func (d *Device) beginInit(i InitOptions) (*initState, error) {
	g, err := seed.NewGeneration(d.o.Rand, 1)
	if err != nil {
		return nil, err
	}
	defer g.Erase()
	begun := &initState{
		Quorum: i.Quorum, Members: i.Members, WaitingPeriod: i.WaitingPeriod, Printed: i.Printed,
		Metadata: g.Metadata.Bytes(), DeviceShare: g.DeviceShare.Bytes(),
	}
	return begun, d.save(initFile, begun)
}

// genesis makes the ledger's first entry, journals it and sends it. A journalled
// one is sent again as it is: its hash is the account's id.
func (d *Device) genesis(ctx context.Context, g *seed.Generation, i InitOptions) error {
	journal, err := d.home.Journal()
	if err != nil {
		return err
	}
	if journal != nil {
		err := d.sendGenesis(ctx, journal.Entries[0], i.Token)
		if !signed(err) || !errors.Is(err, api.ErrEntryTime) {
			return err
		}
		// Its time has passed, and nobody has seen it.
		if err := d.home.RemoveJournal(); err != nil {
			return err
		}
	}
	entry, err := d.newGenesis(g, i.DeviceName)
	if err != nil {
		return err
	}
	if err := d.home.PutJournal(&home.Append{Entries: []*ledger.Entry{entry}}); err != nil {
		return err
	}
	return d.sendGenesis(ctx, entry, i.Token)
}

func (d *Device) sendGenesis(ctx context.Context, entry *ledger.Entry, token []byte) error {
	who := d.identity()
	who.Account, who.Device = nil, 0
	answer, hash, err := d.client.CreateAccount(ctx, who, &apiv1.CreateAccountRequest{Name: d.Name(), Entry: entry.Bytes(), Token: token})
	if err != nil {
		return err
	}
	account, _ := entry.Account()
	if err := d.home.SetIdentity(account, 1); err != nil {
		return err
	}
	if d.keys, err = d.home.Keys(); err != nil {
		return err
	}
	proof, err := d.serverProof(answer.Attestation, api.AppendNonce(hash))
	if err != nil {
		return err
	}
	if err := d.home.AcceptJournal(); err != nil {
		return err
	}
	return d.keepProof(proof)
}

func (d *Device) newGenesis(g *seed.Generation, deviceName string) (*ledger.Entry, error) {
	sealed, err := g.Metadata.Seal(d.o.Rand, deviceNameContext(nil, d.keys.Sign.PublicKey(), g.Number), []byte(deviceName))
	if err != nil {
		return nil, err
	}
	record, err := ledger.NewRecord(&recordv1.Genesis{
		Server: d.home.Config().Server,
		Device: d.deviceKeys(g.Number, sealed),
		Policy: &recordv1.Policy{RevealsPerHour: defaultRevealsPerHour, RevealsPerDay: defaultRevealsPerDay},
	})
	if err != nil {
		return nil, err
	}
	return ledger.Draft{Time: d.o.Now(), Author: 1, Records: [][]byte{record}}.Sign(d.keys.Sign)
}

// deviceKeys are the device's public keys for a record, with its sealed name.
func (d *Device) deviceKeys(generation uint64, name []byte) *recordv1.DeviceKeys {
	return &recordv1.DeviceKeys{
		SignKey:    d.keys.Sign.PublicKey().Bytes(),
		SealKey:    d.keys.Seal.PublicKey().Bytes(),
		ConfirmKey: d.keys.Confirm.Bytes(),
		Generation: generation,
		SealedName: name,
	}
}

// deviceNameContext is what a device's name is sealed under; the account is nil
// in Genesis, which makes it.
func deviceNameContext(account []byte, key *signing.PublicKey, generation uint64) *signing.Context {
	return deviceNameSealing(account, key, generation).Context()
}

func deviceNameSealing(account []byte, key *signing.PublicKey, generation uint64) signing.Sealing {
	return signing.Sealing{
		Kind:      "device-name",
		Account:   account,
		Object:    key.Bytes(),
		Role:      "name",
		Recipient: credential.GenerationName(generation),
	}
}

// serverSealKey returns the key that server shares are sealed to.
func serverSealKey(s *ledger.State) (*hpke.PublicKey, error) {
	return hpke.NewPublicKey(s.Server().GetSealKey())
}
