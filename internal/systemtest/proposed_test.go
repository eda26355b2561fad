package systemtest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
)

// generations opens the key generations that the stolen device has.
func (th *thief) generations() []*seed.Generation {
	t := th.w.t
	t.Helper()
	var all []*seed.Generation
	for number := uint64(1); number <= th.state.Generation(); number++ {
		metadata, share, author, ok := th.state.GenerationKeys(number, th.keys.Device)
		if !ok {
			t.Fatalf("generation %d is not sealed to the stolen device", number)
		}
		g := &seed.Generation{Number: number}
		var err error
		g.Metadata, err = seed.OpenMetadataKey(th.keys.Seal, th.keys.Account, number, author, th.keys.Device, metadata)
		must(t, err)
		g.DeviceShare, err = seed.OpenDeviceShareKey(th.keys.Seal, th.keys.Account, number, author, th.keys.Device, share)
		must(t, err)
		all = append(all, g)
	}
	return all
}

func (th *thief) serverSealKey() *hpke.PublicKey {
	th.w.t.Helper()
	key, err := hpke.NewPublicKey(th.state.Server().SealKey)
	must(th.w.t, err)
	return key
}

// epoch makes the record of the next epoch.
func (th *thief) epoch(generations ...*seed.Generation) *recordv1.EpochPrepared {
	t := th.w.t
	t.Helper()
	for {
		chosen, err := seed.New(random(t, 32), random(t, 32))
		must(t, err)
		record, _, _, err := seed.Prepare(rand.Reader, seed.Preparation{
			Seed: chosen, Account: th.keys.Account, Epoch: th.state.NextEpoch(), Author: th.keys.Device,
			Quorum: 2, Members: 3, WaitingPeriod: th.state.InUse().WaitingPeriod(), Devices: th.state.ActiveDevices(),
			ServerSealKey: th.serverSealKey(), Generations: generations,
		})
		if errors.Is(err, seed.ErrStartOver) {
			continue
		}
		must(t, err)
		return record
	}
}

// version makes a version of a slot in an epoch.
func (th *thief) version(epoch *ledger.Epoch, id ledger.SlotID, version, counter uint64, item device.Item) *recordv1.SlotPut {
	t := th.w.t
	t.Helper()
	g := th.generations()[th.state.Generation()-1]
	master, err := seed.OpenMaster(g.Metadata, th.keys.Account, epoch.Record, epoch.Author)
	must(t, err)
	slotKey, err := master.SlotKey(th.keys.Device, counter)
	must(t, err)
	put, _, err := credential.NewPut(rand.Reader, credential.Put{
		Account: th.keys.Account, Slot: id, Version: version, Epoch: epoch.Number,
		Device: th.keys.Device, Counter: counter, SlotKey: slotKey, ServerSealKey: th.serverSealKey(),
		Generation: g.Number, MetadataKey: g.Metadata, DeviceShareKey: g.DeviceShare,
		Metadata: item.Metadata, Secret: item.Secret,
	})
	must(t, err)
	return put
}

// propose asks the other devices to endorse records, by an honest server.
func (th *thief) propose(records ...proto.Message) {
	t := th.w.t
	t.Helper()
	head := th.state.Head()
	proposal, err := canonical.Marshal(&recordv1.Proposal{
		Nonce: random(t, 16), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(th.w.now().Add(10 * time.Minute).UnixMilli()),
	})
	must(t, err)
	request := &apiv1.ProposeRequest{Proposal: proposal}
	for _, record := range records {
		b, err := ledger.NewRecord(record)
		must(t, err)
		request.Records = append(request.Records, b)
	}
	prepared, err := th.server.PreparePropose(th.identity(), request)
	must(t, err)
	if _, err := prepared.Send(context.Background()); !errors.Is(err, api.ErrConfirmationPending) {
		t.Fatalf("the server does not keep it: %v", err)
	}
}

// A proposal that the fold admits may still shut out whoever endorses it: what is
// sealed to a device only that device can open, and does before it endorses.
func TestAProposalThatShutsTheOthersOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	th := w.thiefOf(laptop)
	own := th.generations()
	other, err := seed.NewGeneration(rand.Reader, 1)
	must(t, err)
	stranger, err := seed.NewGeneration(rand.Reader, 1)
	must(t, err)
	broken := func(change func(*recordv1.EpochPrepared)) *recordv1.EpochPrepared {
		record := th.epoch(own...)
		change(record)
		return record
	}
	for name, c := range map[string]struct {
		record *recordv1.EpochPrepared
		cannot string
	}{
		"as it should be":      {th.epoch(own...), ""},
		"other keys":           {th.epoch(other), "master public key of epoch 2"},
		"another share key":    {th.epoch(&seed.Generation{Number: 1, Metadata: own[0].Metadata, DeviceShare: stranger.DeviceShare}), "with other keys"},
		"no share of the seed": {broken(func(r *recordv1.EpochPrepared) { r.SeedShares[1].Sealed = r.SeedShares[0].Sealed }), "share of the seed"},
		"no metadata key": {broken(func(r *recordv1.EpochPrepared) {
			r.Generations[0].MetadataKeys[1].Sealed = r.Generations[0].MetadataKeys[0].Sealed
		}), "the metadata key of generation 1"},
		"no device-share key": {broken(func(r *recordv1.EpochPrepared) {
			r.Generations[0].DeviceShareKeys[1].Sealed = r.Generations[0].DeviceShareKeys[0].Sealed
		}), "the device-share key of generation 1"},
		"backed up elsewhere": {broken(func(r *recordv1.EpochPrepared) { r.Generations[0].Backups[0].PublicKey = th.serverSealKey().Bytes() }), "backed up to a key"},
	} {
		th.propose(c.record)
		items, err := phone.Pending(ctx)
		if err != nil || len(items) != 1 {
			t.Fatalf("%s: %+v, %v", name, items, err)
		}
		if cannot := items[0].Cannot; (cannot == "") != (c.cannot == "") || !strings.Contains(cannot, c.cannot) {
			t.Errorf("%s: %q", name, cannot)
		}
		if look := strings.Join(items[0].Look, "\n"); !strings.Contains(look, "makes the new seed") {
			t.Errorf("%s: %q", name, look)
		}
		if c.cannot != "" {
			_, err = phone.ConfirmPending(ctx, items[0].ID)
			wantCode(t, err, device.CodeRefused)
		}
		_, err = phone.RefusePending(ctx, items[0].ID)
		must(t, err)
	}
}

// No version of a secret goes into the ledger under another title than was shown.
func TestEveryVersionInAProposalIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	th := w.thiefOf(laptop)
	id := mustFind(t, laptop.Device, "bank").ID
	counter := th.state.Counter(th.keys.Device)
	th.propose(th.version(th.state.InUse(), id, 2, counter+1, login("Bank", "one")), th.version(th.state.InUse(), id, 3, counter+2, login("Savings", "two")))
	items, err := phone.Pending(ctx)
	if err != nil || len(items) != 1 || items[0].Cannot != "" {
		t.Fatalf("%+v, %v", items, err)
	}
	if what := strings.Join(items[0].What, "\n"); !strings.Contains(what, `change "Bank (ann)" to version 2`) || !strings.Contains(what, `to version 3, called "Savings (ann)"`) {
		t.Errorf("%q", what)
	}
	_, err = phone.RefusePending(ctx, items[0].ID)
	must(t, err)

	// In an epoch that is prepared, a secret is split again as what it is.
	bob, cy := w.person("bob", nil), w.person("cy", nil)
	w.confirmed(phone, func() error { w.befriend(laptop, bob, cy); return nil })
	item, done := w.waits(phone, func() error { _, err := laptop.Rotate(ctx, device.RotateOptions{}); return err })
	phone.confirmPending(item.ID)
	for items, err = nil, nil; len(items) == 0 || !items[0].Bulk; {
		if items, err = phone.Pending(ctx); err != nil {
			t.Fatal(explained(err))
		}
	}
	_, err = phone.RefusePending(ctx, items[0].ID)
	must(t, err)
	wantCode(t, <-done, device.CodeRefused)
	th = w.thiefOf(laptop)
	counter = th.state.Counter(th.keys.Device)
	for title, looks := range map[string]int{"Bank": 0, "Savings": 1} {
		again := login(title, "one")
		if looks == 0 {
			again.Metadata = mustFind(t, laptop.Device, "bank").Metadata
		}
		th.propose(th.version(th.state.Prepared(), id, 1, counter+1, again))
		items, err := phone.Pending(ctx)
		if err != nil || len(items) != 1 || len(items[0].Look) != looks {
			t.Fatalf("%s: %+v, %v", title, items, err)
		}
		_, err = phone.RefusePending(ctx, items[0].ID)
		must(t, err)
	}
}

// What could be used long after everybody has forgotten it is not endorsed.
func TestAProposalThatLivesLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	th := w.thiefOf(laptop)
	var expiry time.Duration
	var want string
	record, err := ledger.NewRecord(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 10}})
	must(t, err)
	w.liar(phone, func([]*apiv1.Waiting) []*apiv1.Waiting {
		head := th.state.Head()
		proposal, err := canonical.Marshal(&recordv1.Proposal{
			Nonce: random(t, 16), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(w.now().Add(expiry).UnixMilli()),
		})
		must(t, err)
		request, _, err := api.NewRequest(apiv1connect.ServerServiceProposeProcedure, w.keys.SignKey(), th.identity(),
			&apiv1.ProposeRequest{Proposal: proposal, Records: [][]byte{record}}, w.now(), rand.Reader)
		must(t, err)
		return []*apiv1.Waiting{{Request: request, Expires: uint64(w.now().Add(5 * time.Minute).UnixMilli())}}
	})
	for expiry, want = range map[time.Duration]string{10 * time.Minute: "", time.Hour: "long after"} {
		items, err := phone.Pending(ctx)
		if err != nil || len(items) != 1 || (items[0].Cannot == "") != (want == "") || !strings.Contains(items[0].Cannot, want) {
			t.Errorf("%s: %+v, %v", expiry, items, err)
		}
	}
}

// The others see what a device is to be called.
func TestTheNewNameIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	_, err := laptop.RenameDevice(ctx, 2, "tablet") // which only the phone could confirm
	wantCode(t, err, device.CodeUsage)
	var failed *device.Error
	if !errors.As(err, &failed) || !strings.Contains(failed.Hint, "rename it there") {
		t.Error(explained(err))
	}
	tablet := w.further("tablet", laptop, phone)
	item, done := w.waits(tablet, func() error { _, err := laptop.RenameDevice(ctx, 2, "old phone"); return err })
	if len(item.What) != 1 || item.What[0] != `call device 2 ("phone") "old phone"` {
		t.Errorf("%q", item.What)
	}
	tablet.confirmPending("")
	must(t, <-done)
}
