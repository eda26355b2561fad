package seed

import (
	"fmt"
	"io"
	"time"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// Preparation is what an epoch starts from.
type Preparation struct {
	Seed *Seed // is erased by Prepare

	Account [32]byte
	Epoch   uint64 // the next one, from 1
	Author  uint64 // number of the device that prepares it

	Quorum, Members int           // k of n: 2 ≤ k ≤ n ≤ 16, or 1 of 1
	Sheet           bool          // with a printed sheet of its own
	WaitingPeriod   time.Duration // whole seconds, at least one

	Devices       []*ledger.Device // all active ones, the author included, in ascending order
	ServerSealKey *hpke.PublicKey

	// Generations are the key generations in use, in ascending order. The last
	// one has both keys and seals the master public key and the waiting shares.
	Generations []*Generation
}

// Prepared is what the preparing device goes on with.
type Prepared struct {
	Master *MasterPublicKey

	// Sheet is nil if there is none. It is printed, and then erased.
	Sheet *Sheet
}

// Sheet is what the printed sheet of an epoch carries: a share worth a quorum of
// contacts and the key that approves a recovery. Both print as [secret].
type Sheet struct {
	Share *slip39.Share
	Key   *signing.PrivateKey
}

// Erase erases the sheet's share and key.
func (s *Sheet) Erase() {
	s.Share.Erase()
	s.Key.Erase()
}

// Prepare starts an epoch: it derives the keys of p.Seed, splits it, seals every
// share and key to its holder, lets the root key sign the device list, and erases
// the seed, all private keys and all shares, the sheet's excepted.
//
// It returns the record for the ledger; the sealed forms that go to the server,
// its seed share first and then its half of each waiting share; and what the
// device keeps.
//
// The seed is erased on an error too. Errors are [ErrStartOver] for a seed that
// has no keys; [ErrErased]; ones that wrap [ErrInput]; and rand's.
func Prepare(rand io.Reader, p Preparation) (*recordv1.EpochPrepared, []*recordv1.SealedServerShare, *Prepared, error) {
	if p.Seed.erased() {
		return nil, nil, nil, ErrErased
	}
	defer p.Seed.Erase()
	if err := p.check(); err != nil {
		return nil, nil, nil, err
	}
	keys, err := p.Seed.Keys()
	if err != nil {
		return nil, nil, nil, err
	}
	defer keys.Erase()
	split, err := p.Seed.Split(rand, p.Quorum, p.Members, p.Sheet)
	if err != nil {
		return nil, nil, nil, err
	}
	defer split.Erase()

	b := builder{rand: rand, p: p, keys: keys, split: split, record: &recordv1.EpochPrepared{
		Epoch:         p.Epoch,
		RootKey:       keys.Root().PublicKey().Bytes(),
		Identifier:    uint64(split.Identifier),
		Quorum:        uint64(p.Quorum),
		WaitingPeriod: uint64(p.WaitingPeriod / time.Second),
		Generation:    p.newest().Number,
	}}
	for _, step := range []func() error{b.masterKey, b.seedShares, b.members, b.generations} {
		if err := step(); err != nil {
			return nil, nil, nil, err
		}
	}
	b.record.DeviceListSignature = keys.Root().Sign(ledger.DeviceListContext(p.Account, p.Epoch, p.Devices))
	sheet, err := b.sheet()
	if err != nil {
		return nil, nil, nil, err
	}
	return b.record, b.forServer, &Prepared{Master: keys.Master(), Sheet: sheet}, nil
}

func (p *Preparation) newest() *Generation { return p.Generations[len(p.Generations)-1] }

func (p *Preparation) check() error {
	if p.Epoch == 0 || p.ServerSealKey == nil || len(p.Generations) == 0 {
		return fmt.Errorf("%w: epoch, server key and key generations are needed", ErrInput)
	}
	if p.WaitingPeriod < time.Second || p.WaitingPeriod%time.Second != 0 {
		return fmt.Errorf("%w: a waiting period of %v, want whole seconds", ErrInput, p.WaitingPeriod)
	}
	var last uint64
	for _, g := range p.Generations {
		if g.Number <= last || g.Metadata == nil {
			return fmt.Errorf("%w: key generation %d is incomplete or out of order", ErrInput, g.Number)
		}
		last = g.Number
	}
	if p.newest().DeviceShare == nil {
		return fmt.Errorf("%w: key generation %d has no device-share key", ErrInput, last)
	}
	return p.checkDevices()
}

func (p *Preparation) checkDevices() error {
	var last uint64
	author := false
	for _, d := range p.Devices {
		if d.Number <= last || d.Keys == nil || d.SealKey == nil {
			return fmt.Errorf("%w: device %d is incomplete or out of order", ErrInput, d.Number)
		}
		last = d.Number
		author = author || d.Number == p.Author
	}
	if !author {
		return fmt.Errorf("%w: the preparing device %d is not among the active ones", ErrInput, p.Author)
	}
	return nil
}

// builder fills an EpochPrepared, one kind of field in each step.
type builder struct {
	rand      io.Reader
	p         Preparation
	keys      *Keys
	split     *Split
	record    *recordv1.EpochPrepared
	forServer []*recordv1.SealedServerShare
}

func (b *builder) masterKey() (err error) {
	c := masterContext(b.p.Account, b.p.Epoch, b.p.Author, b.record.Generation)
	b.record.SealedMasterKey, err = b.p.newest().Metadata.Seal(b.rand, c, b.keys.Master().Bytes())
	return err
}

// seedShares seals group 0's share to the server and group 1's to every device.
func (b *builder) seedShares() error {
	serverHash, err := ShareHash(b.split.Server)
	if err != nil {
		return err
	}
	deviceHash, err := ShareHash(b.split.Device)
	if err != nil {
		return err
	}
	b.record.ServerShareHash, b.record.DeviceShareHash = serverHash[:], deviceHash[:]

	sealed, err := sealShare(b.rand, b.p.ServerSealKey, shareToServer(b.p.Account, b.p.Epoch, b.p.Author), b.split.Server)
	if err != nil {
		return err
	}
	b.forServer = append(b.forServer, &recordv1.SealedServerShare{
		Kind:   recordv1.SealedServerShare_KIND_SEED,
		Epoch:  b.p.Epoch,
		Sealed: sealed,
	})
	for _, device := range b.p.Devices {
		sealed, err := SealDeviceShare(b.rand, b.p.Account, b.p.Epoch, b.p.Author, device, b.split.Device)
		if err != nil {
			return err
		}
		b.record.SeedShares = append(b.record.SeedShares, &recordv1.SealedToDevice{Device: device.Number, Sealed: sealed})
	}
	return nil
}

// members splits every contact's share between device and server, where both
// halves wait for the contact.
func (b *builder) members() error {
	for i, share := range b.split.Members {
		member, forServer, err := b.member(uint64(i)+1, share)
		if err != nil {
			return err
		}
		b.record.Members = append(b.record.Members, member)
		b.forServer = append(b.forServer, forServer)
	}
	return nil
}

func (b *builder) member(number uint64, share *slip39.Share) (*recordv1.Member, *recordv1.SealedServerShare, error) {
	key, err := ShareKey(share, b.p.Account, b.p.Epoch, number)
	if err != nil {
		return nil, nil, err
	}
	defer key.Erase()
	binary, err := share.MarshalBinary()
	if err != nil {
		return nil, nil, err
	}
	defer clear(binary)
	waiting, forServer, err := credential.NewWaiting(b.rand, credential.Waiting{
		Account:        b.p.Account,
		Epoch:          b.p.Epoch,
		Member:         number,
		Device:         b.p.Author,
		Generation:     b.record.Generation,
		DeviceShareKey: b.p.newest().DeviceShare,
		ServerSealKey:  b.p.ServerSealKey,
		Share:          binary,
	})
	if err != nil {
		return nil, nil, err
	}
	return &recordv1.Member{ShareKey: key.PublicKey().Bytes(), Waiting: waiting}, forServer, nil
}

func (b *builder) generations() error {
	for _, g := range b.p.Generations {
		epoch := EpochKey{Epoch: b.p.Epoch, Master: b.keys.Master()}
		sealed, err := g.Seal(b.rand, b.p.Account, b.p.Author, b.p.Devices, epoch)
		if err != nil {
			return err
		}
		b.record.Generations = append(b.record.Generations, sealed)
	}
	return nil
}

// sheet makes the approval key and takes the sheet's share out of the split, so
// that it is not erased with the others.
func (b *builder) sheet() (*Sheet, error) {
	if b.split.Sheet == nil {
		return nil, nil
	}
	key, err := signing.GenerateKey(b.rand)
	if err != nil {
		return nil, fmt.Errorf("seed: approval key of the sheet: %w", err)
	}
	b.record.SheetKey = key.PublicKey().Bytes()
	sheet := &Sheet{Share: b.split.Sheet, Key: key}
	b.split.Sheet = nil
	return sheet, nil
}
