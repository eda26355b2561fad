package home

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

var (
	testPassphrase = []byte("correct horse battery staple")
	testConfirm    = []byte("another one altogether")
	testTime       = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func testCreation() Creation {
	return Creation{
		Passphrase:        testPassphrase,
		ConfirmPassphrase: testConfirm,
		WorkFactor:        1,
		Config:            &recordv1.HomeConfig{Name: "Ada", Url: "https://zeropass.example"},
		Rand:              rand.Reader,
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fixedKey returns a key that is the same in every process of a test.
func fixedKey(name string) *signing.PrivateKey {
	key, err := signing.DeriveKey(bytes.Repeat([]byte{1}, 32), signing.NewContext("test").Text(name))
	if err != nil {
		panic(err)
	}
	return key
}

// genesis returns the first entry of an account whose first device has a home.
func genesis(keys *Keys) (*ledger.Entry, error) {
	serverSeal, err := hpke.DeriveKeyPair(bytes.Repeat([]byte{2}, 32))
	if err != nil {
		return nil, err
	}
	record, err := ledger.NewRecord(&recordv1.Genesis{
		Server: &recordv1.Server{
			Url:     "https://zeropass.example",
			SignKey: fixedKey("server").PublicKey().Bytes(),
			SealKey: serverSeal.PublicKey().Bytes(),
		},
		Device: &recordv1.DeviceKeys{
			SignKey:    keys.Sign.PublicKey().Bytes(),
			SealKey:    keys.Seal.PublicKey().Bytes(),
			ConfirmKey: keys.Confirm.Bytes(),
			Generation: 1,
			SealedName: bytes.Repeat([]byte{3}, 40),
		},
		Policy: &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 100},
	})
	if err != nil {
		return nil, err
	}
	return ledger.Draft{Time: testTime, Author: 1, Records: [][]byte{record}}.Sign(keys.Sign)
}

// epochEntry returns the second entry, which prepares epoch 1.
func epochEntry(genesis *ledger.State, keys *Keys) (*ledger.Entry, error) {
	account := genesis.Account()
	serverSeal, err := hpke.NewPublicKey(genesis.Server().SealKey)
	if err != nil {
		return nil, err
	}
	local, server := make([]byte, seed.HalfSize), bytes.Repeat([]byte{5}, seed.HalfSize)
	s, err := seed.New(local, server)
	if err != nil {
		return nil, err
	}
	generation, err := seed.NewGeneration(rand.Reader, 1)
	if err != nil {
		return nil, err
	}
	prepared, _, _, err := seed.Prepare(rand.Reader, seed.Preparation{
		Seed: s, Account: account, Epoch: 1, Author: 1, Quorum: 2, Members: 3, WaitingPeriod: time.Hour,
		Devices:       genesis.ActiveDevices(),
		ServerSealKey: serverSeal,
		Generations:   []*seed.Generation{generation},
	})
	if err != nil {
		return nil, err
	}
	record, err := ledger.NewRecord(prepared)
	if err != nil {
		return nil, err
	}
	return ledger.Draft{Account: &account, Previous: genesis.Head(), Time: testTime, Author: 1, Records: [][]byte{record}}.Sign(keys.Sign)
}

// policyEntries returns n entries that follow a state. Which differs from 0
// makes them others than those of 0.
func policyEntries(state *ledger.State, keys *Keys, confirm *signing.PrivateKey, n int, which byte) ([]*ledger.Entry, error) {
	account, head := state.Account(), state.Head()
	var entries []*ledger.Entry
	for range n {
		policy := &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 100 - head.Sequence%2}
		record, err := ledger.NewRecord(&recordv1.PolicyChanged{Policy: policy})
		if err != nil {
			return nil, err
		}
		at := testTime.Add(time.Duration(head.Sequence) * time.Second)
		nonce := make([]byte, 16)
		nonce[0], nonce[1], nonce[15] = which, byte(head.Sequence>>8), byte(head.Sequence)
		records := [][]byte{record}
		proposal := &recordv1.Proposal{
			Nonce:        nonce,
			BaseSequence: head.Sequence,
			BaseHash:     head.Hash[:],
			Expiry:       uint64(at.Add(time.Hour).UnixMilli()),
		}
		c := ledger.ProposalContext(account, proposal, 1, records, recordv1.Endorsement_ROLE_CONFIRM, 1)
		proposal.Endorsements = []*recordv1.Endorsement{{Role: recordv1.Endorsement_ROLE_CONFIRM, Device: 1, Signature: confirm.Sign(c)}}
		e, err := ledger.Draft{Account: &account, Previous: head, Time: at, Author: 1, Records: records, Proposal: proposal}.Sign(keys.Sign)
		if err != nil {
			return nil, err
		}
		entries, head = append(entries, e), e.Head()
	}
	return entries, nil
}

func serverShare(version uint64, size int) *recordv1.SealedServerShare {
	return &recordv1.SealedServerShare{
		Kind:    recordv1.SealedServerShare_KIND_SLOT,
		Epoch:   1,
		Slot:    bytes.Repeat([]byte{7}, 16),
		Version: version,
		Sealed:  bytes.Repeat([]byte{byte(version)}, size),
	}
}

func storedShare(member uint64, share string) *recordv1.StoredShare {
	envelope, err := canonical.Marshal(&recordv1.ShareEnvelope{Account: bytes.Repeat([]byte{9}, 32), Epoch: 1, Member: member})
	if err != nil {
		panic(err)
	}
	signed, err := canonical.Marshal(&recordv1.SignedShareEnvelope{Envelope: envelope, Signature: make([]byte, 64)})
	if err != nil {
		panic(err)
	}
	return &recordv1.StoredShare{Envelope: signed, Share: []byte(share), Owner: "Bob"}
}

func attestation(t testing.TB, account ledger.AccountID, epoch, sequence uint64, at time.Time, holder *recordv1.Holder) *ledger.Attestation {
	b := must[[]byte](t)(ledger.NewAttestation(&recordv1.Attestation{
		Account: account[:], Epoch: epoch, Sequence: sequence, Head: bytes.Repeat([]byte{byte(sequence)}, 32),
		Time: uint64(at.UnixMilli()), Nonce: make([]byte, 16), Holder: holder,
	}, fixedKey("holder")))
	return must[*ledger.Attestation](t)(ledger.ParseAttestation(b))
}
