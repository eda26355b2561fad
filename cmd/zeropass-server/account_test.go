package main

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// owner is the one device of an account, with real keys, in memory.
type owner struct {
	t             *testing.T
	sign, confirm *signing.PrivateKey
	seal          *hpke.PrivateKey
	server        *recordv1.Server
	generation    *seed.Generation
	master        *seed.MasterPublicKey
	state         *ledger.State
}

// sent is one append as the device has journalled it.
type sent struct {
	entry  *ledger.Entry
	shares []*recordv1.SealedServerShare
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

func (o *owner) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// newOwner makes an account on a server, with epoch 1.
func newOwner(t *testing.T, url string) *owner {
	t.Helper()
	return newOwnerNamed(t, url, "Ada")
}

func newOwnerNamed(t *testing.T, url, name string) *owner {
	t.Helper()
	o := unregistered(t, url)
	o.must(o.register(url, name, nil))
	c := o.client(url)
	prepared := o.prepare(c)
	receipts, err := o.append(t.Context(), c, prepared)
	o.must(err)
	o.must(o.state.Apply(prepared.entry))
	receipt := &recordv1.ShareReceipt{}
	o.must(canonical.Unmarshal(receipts[0], receipt))
	proved := sent{entry: o.entry(receipt)}
	_, err = o.append(t.Context(), c, proved)
	o.must(err)
	o.must(o.state.Apply(proved.entry))
	return o
}

// unregistered is an owner without an account.
func unregistered(t *testing.T, url string) *owner {
	t.Helper()
	return &owner{
		t:          t,
		sign:       must[*signing.PrivateKey](t)(signing.GenerateKey(rand.Reader)),
		confirm:    must[*signing.PrivateKey](t)(signing.GenerateKey(rand.Reader)),
		seal:       must[*hpke.PrivateKey](t)(hpke.GenerateKey(rand.Reader)),
		server:     must[*recordv1.Server](t)(client.Identify(t.Context(), nil, url, rand.Reader)),
		generation: must[*seed.Generation](t)(seed.NewGeneration(rand.Reader, 1)),
		state:      &ledger.State{},
	}
}

// register makes the account.
func (o *owner) register(url, name string, token []byte) error {
	o.t.Helper()
	genesis := o.entry(&recordv1.Genesis{
		Server: o.server,
		Device: &recordv1.DeviceKeys{
			SignKey:    o.sign.PublicKey().Bytes(),
			SealKey:    o.seal.PublicKey().Bytes(),
			ConfirmKey: o.confirm.PublicKey().Bytes(),
			Generation: 1,
			SealedName: []byte("sealed"),
		},
		Policy: &recordv1.Policy{RevealsPerHour: 100, RevealsPerDay: 1000},
	})
	_, _, err := o.client(url).CreateAccount(o.t.Context(), api.Identity{Key: o.sign}, &apiv1.CreateAccountRequest{Name: name, Entry: genesis.Bytes(), Token: token})
	if err == nil {
		o.must(o.state.Apply(genesis))
	}
	return err
}

func (o *owner) client(url string) *client.Client {
	key := must[*signing.PublicKey](o.t)(signing.NewPublicKey(o.server.SignKey))
	return must[*client.Client](o.t)(client.New(nil, url, key, rand.Reader, time.Now))
}

func (o *owner) identity() api.Identity {
	id := o.state.Account()
	return api.Identity{Account: &id, Device: 1, Key: o.sign}
}

// entry signs the next entry.
func (o *owner) entry(kinds ...proto.Message) *ledger.Entry {
	o.t.Helper()
	draft := ledger.Draft{Previous: o.state.Head(), Time: time.Now(), Author: 1}
	if o.state.Head().Sequence > 0 {
		id := o.state.Account()
		draft.Account = &id
	}
	for _, kind := range kinds {
		draft.Records = append(draft.Records, must[[]byte](o.t)(ledger.NewRecord(kind)))
	}
	return must[*ledger.Entry](o.t)(draft.Sign(o.sign))
}

func (o *owner) serverSealKey() *hpke.PublicKey {
	return must[*hpke.PublicKey](o.t)(hpke.NewPublicKey(o.server.SealKey))
}

// prepare makes epoch 1 with the server's half of its seed.
func (o *owner) prepare(c *client.Client) sent {
	nonce := [16]byte{1}
	answer := must[*apiv1.SeedHalfAnswer](o.t)(c.SeedHalf(o.t.Context(), o.identity(), &apiv1.SeedHalfRequest{Nonce: nonce[:]}))
	half := must[[]byte](o.t)(seed.OpenServerHalf(o.seal, o.state.Account(), nonce, 1, answer.Sealed))
	local := must[[]byte](o.t)(seed.LocalHalf(rand.Reader, nil))
	record, shares, made, err := seed.Prepare(rand.Reader, seed.Preparation{
		Seed:          must[*seed.Seed](o.t)(seed.New(local, half)),
		Account:       o.state.Account(),
		Epoch:         1,
		Author:        1,
		Quorum:        2,
		Members:       3,
		WaitingPeriod: 72 * time.Hour,
		Devices:       o.state.ActiveDevices(),
		ServerSealKey: o.serverSealKey(),
		Generations:   []*seed.Generation{o.generation},
	})
	o.must(err)
	o.master = made.Master
	return sent{entry: o.entry(record), shares: shares}
}

// put makes the first version of a new slot.
func (o *owner) put(secret string) sent {
	o.t.Helper()
	p := credential.Put{
		Account:        o.state.Account(),
		Version:        1,
		Epoch:          1,
		Device:         1,
		Counter:        o.state.Counter(1) + 1,
		ServerSealKey:  o.serverSealKey(),
		Generation:     1,
		MetadataKey:    o.generation.Metadata,
		DeviceShareKey: o.generation.DeviceShare,
		Metadata:       &recordv1.SlotMetadata{Kind: recordv1.SlotMetadata_KIND_NOTE, Title: "note"},
		Secret:         &recordv1.Secret{Notes: secret, Kind: &recordv1.Secret_Note{Note: &recordv1.Note{}}},
	}
	must[int](o.t)(rand.Read(p.Slot[:]))
	p.SlotKey = must[*hpke.PublicKey](o.t)(o.master.SlotKey(1, p.Counter))
	record, share, err := credential.NewPut(rand.Reader, p)
	o.must(err)
	return sent{entry: o.entry(record), shares: []*recordv1.SealedServerShare{share}}
}

// append sends a journalled append and returns the server's receipts.
func (o *owner) append(ctx context.Context, c *client.Client, s sent) ([][]byte, error) {
	answer, hash, err := c.Append(ctx, o.identity(), &apiv1.AppendRequest{Entries: [][]byte{s.entry.Bytes()}, Shares: s.shares})
	if err != nil {
		return nil, err
	}
	a := must[*ledger.Attestation](o.t)(ledger.ParseAttestation(answer.Attestation))
	o.must(a.Verify(c.Server()))
	if !a.Answers(api.AppendNonce(hash)) || a.Head() != s.entry.Head() {
		o.t.Fatalf("the server acknowledges entry %v with an attestation of %v", s.entry.Head(), a.Head())
	}
	return answer.Receipts, nil
}

// pull returns the whole ledger as the server has it, and what it says it lacks.
func (o *owner) pull(c *client.Client) (*ledger.State, []*recordv1.SealedServerShare) {
	o.t.Helper()
	state := &ledger.State{}
	for {
		page := must[*apiv1.EntriesAnswer](o.t)(c.Entries(o.t.Context(), o.identity(), &apiv1.EntriesRequest{After: state.Head().Sequence, Nonce: make([]byte, 16)}))
		for _, b := range page.Entries {
			o.must(state.Apply(must[*ledger.Entry](o.t)(ledger.ParseEntry(b))))
		}
		if !page.More {
			return state, page.Missing
		}
	}
}
