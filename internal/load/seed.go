package load

import (
	"fmt"
	"io"
	"time"

	"zeropass.dev/zeropass/credential"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
	"zeropass.dev/zeropass/slip39"
)

// WaitingPeriod is how long a recovery of a simulated account waits: the shortest
// time that a ledger allows.
const WaitingPeriod = time.Second

// origin is the Private Master Seed of all simulated accounts, split once: 1 of 1
// contacts.
type origin struct {
	identifier             uint64
	root                   *signing.PrivateKey
	master                 *seed.MasterPublicKey
	server, device, member *slip39.Share
	serverBytes            []byte
}

func newOrigin(rand io.Reader, serverHalf []byte) (*origin, error) {
	local, err := seed.LocalHalf(rand, nil)
	if err != nil {
		return nil, err
	}
	s, err := seed.New(local, serverHalf)
	if err != nil {
		return nil, err
	}
	defer s.Erase()
	keys, err := s.Keys()
	if err != nil {
		return nil, err
	}
	split, err := s.Split(rand, 1, 1, false)
	if err != nil {
		return nil, err
	}
	o := &origin{
		identifier: uint64(split.Identifier), root: keys.Root(), master: keys.Master(),
		server: split.Server, device: split.Device, member: split.Members[0],
	}
	o.serverBytes, err = o.server.MarshalBinary()
	return o, err
}

// prepare is [seed.Prepare] without deriving and splitting a seed: the same
// record, sealed to this account's device.
func (o *origin) prepare(rand io.Reader, a *Account, d *ledger.Device, g *seed.Generation, server *hpke.PublicKey) (*recordv1.EpochPrepared, []*recordv1.SealedServerShare, error) {
	serverHash, err := seed.ShareHash(o.server)
	if err != nil {
		return nil, nil, err
	}
	deviceHash, err := seed.ShareHash(o.device)
	if err != nil {
		return nil, nil, err
	}
	sealedSeed, err := seed.SealForServer(rand, server, a.ID, ledger.ServerShare{
		ShareID: ledger.ShareID{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: 1}, Hash: serverHash, Device: 1,
	}, o.serverBytes)
	if err != nil {
		return nil, nil, err
	}
	deviceShare, err := seed.SealDeviceShare(rand, a.ID, 1, 1, d, o.device)
	if err != nil {
		return nil, nil, err
	}
	member, waiting, err := o.waiting(rand, a, g, server)
	if err != nil {
		return nil, nil, err
	}
	generation, err := g.Seal(rand, a.ID, 1, []*ledger.Device{d}, seed.EpochKey{Epoch: 1, Master: o.master})
	if err != nil {
		return nil, nil, err
	}
	master, err := g.Metadata.Seal(rand, masterContext(a.ID), o.master.Bytes())
	if err != nil {
		return nil, nil, err
	}
	record := &recordv1.EpochPrepared{
		Epoch: 1, RootKey: o.root.PublicKey().Bytes(), Identifier: o.identifier, Quorum: 1, WaitingPeriod: uint64(WaitingPeriod / time.Second),
		Members: []*recordv1.Member{member}, Generation: 1, SealedMasterKey: master,
		ServerShareHash: serverHash[:], DeviceShareHash: deviceHash[:],
		SeedShares:          []*recordv1.SealedToDevice{{Device: 1, Sealed: deviceShare}},
		Generations:         []*recordv1.KeyGeneration{generation},
		DeviceListSignature: o.root.Sign(ledger.DeviceListContext(a.ID, 1, []*ledger.Device{d})),
	}
	return record, []*recordv1.SealedServerShare{
		{Kind: recordv1.SealedServerShare_KIND_SEED, Epoch: 1, Sealed: sealedSeed}, waiting,
	}, nil
}

// waiting splits the only contact's share between device and server.
func (o *origin) waiting(rand io.Reader, a *Account, g *seed.Generation, server *hpke.PublicKey) (*recordv1.Member, *recordv1.SealedServerShare, error) {
	key, err := seed.ShareKey(o.member, a.ID, 1, 1)
	if err != nil {
		return nil, nil, err
	}
	share, err := o.member.MarshalBinary()
	if err != nil {
		return nil, nil, err
	}
	split, sealed, err := credential.NewWaiting(rand, credential.Waiting{
		Account: a.ID, Epoch: 1, Member: 1, Device: 1, Generation: 1,
		DeviceShareKey: g.DeviceShare, ServerSealKey: server, Share: share,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("load: the contact's share: %w", err)
	}
	return &recordv1.Member{ShareKey: key.PublicKey().Bytes(), Waiting: split}, sealed, nil
}

// masterContext is what docs/specification.md says the master public key is sealed
// under, in epoch 1 by device 1.
func masterContext(account ledger.AccountID) *signing.Context {
	return signing.Sealing{
		Kind: "master-key", Account: account[:], Epoch: 1, Role: "metadata",
		Sender: credential.DeviceName(1), Recipient: credential.GenerationName(1),
	}.Context()
}
