package systemtest

import (
	"context"
	"crypto/rand"
	"testing"

	"zeropass.dev/zeropass/aead"
	"zeropass.dev/zeropass/credential"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
)

// put appends a new slot, as the thief's own program makes it. change is what is
// wrong with it.
func (th *thief) put(title string, before func(*credential.Put), after func(*recordv1.SlotPut)) ledger.SlotID {
	t := th.w.t
	t.Helper()
	d, err := recovery.NewDevice(th.state, th.keys.Device, th.keys.Seal)
	must(t, err)
	metadata, err := d.MetadataKey(th.state.Generation())
	must(t, err)
	unknown, err := aead.GenerateKey(rand.Reader)
	must(t, err)
	epoch := th.state.InUse()
	master, err := seed.OpenMaster(metadata, th.keys.Account, epoch.Record, epoch.Author)
	must(t, err)
	counter := th.state.Counter(th.keys.Device) + 1
	slotKey, err := master.SlotKey(th.keys.Device, counter)
	must(t, err)
	sealKey, err := hpke.NewPublicKey(th.state.Server().SealKey)
	must(t, err)
	item := login(title, "secret of "+title)
	p := credential.Put{
		Account: th.keys.Account, Slot: ledger.SlotID(random(t, 16)), Version: 1, Epoch: epoch.Number,
		Device: th.keys.Device, Counter: counter, SlotKey: slotKey, ServerSealKey: sealKey,
		Generation: th.state.Generation(), MetadataKey: metadata, DeviceShareKey: unknown,
		Metadata: item.Metadata, Secret: item.Secret,
	}
	before(&p)
	made, share, err := credential.NewPut(rand.Reader, p)
	must(t, err)
	after(made)
	record, err := ledger.NewRecord(made)
	must(t, err)
	entry, err := ledger.Draft{
		Account: &th.keys.Account, Previous: th.state.Head(), Time: th.w.now(), Author: th.keys.Device, Records: [][]byte{record},
	}.Sign(th.keys.Sign)
	must(t, err)
	must(t, th.state.Apply(entry))
	_, _, err = th.server.Append(context.Background(), th.identity(), &apiv1.AppendRequest{
		Entries: [][]byte{entry.Bytes()}, Shares: []*recordv1.SealedServerShare{share},
	})
	must(t, err)
	return p.Slot
}

// A stolen device can store, without the second factor, what opens for nobody, or
// not for everybody. That hides nothing else, and is not in the way of a recovery:
// what opens comes back, the rest is listed and can be deleted.
func TestAThiefsSlotsDoNotHideOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	owner, contacts := w.family("ann", "bob")
	w.befriend(owner, contacts...)
	owner.add("mine", "my secret")
	owner.sync()
	th := w.thiefOf(owner)
	other, err := hpke.GenerateKey(rand.Reader)
	must(t, err)
	untitled, err := aead.GenerateKey(rand.Reader)
	must(t, err)
	same, whole := func(*credential.Put) {}, func(*recordv1.SlotPut) {}
	junk := th.put("junk", func(p *credential.Put) { p.SlotKey, p.MetadataKey = other.PublicKey(), untitled }, whole)
	noTitle := th.put("no title", func(p *credential.Put) { p.MetadataKey = untitled }, whole)
	th.put("no device share", same, func(p *recordv1.SlotPut) { p.Secret.DeviceShareHash = random(t, 32) })

	owner.sync()
	owner.wantSecret("mine", "my secret")
	if list, err := owner.List(""); err != nil || len(list) != 4 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	items, lost, err := owner.Export(ctx)
	if err != nil || len(items) != 1 || items[0].Metadata.Title != "mine" || len(lost) != 3 {
		t.Fatalf("an export has %d items and lacks %v: %v", len(items), lost, err)
	}
	for _, l := range lost {
		if l.Err == nil || l.Slot == junk && l.Title != "" || l.Slot != junk && l.Slot != noTitle && l.Title != "no device share" {
			t.Errorf("%+v", l)
		}
	}
	if _, err := owner.Import(ctx, []device.Item{login("imported", "x")}); err != nil {
		t.Error(explained(err))
	}
	if st, err := owner.Status(ctx); err != nil || len(st.NotBackedUp) != 1 || st.NotBackedUp[0].ID != junk {
		t.Errorf("%+v, %v", st, err)
	}
	for _, c := range contacts {
		c.sync()
	}
	owner.close()

	fresh, started := w.newDevice("olivia")
	for _, c := range contacts {
		w.request(c)
	}
	w.wait(3*day + 1)
	w.approveAll(started.Phrase, contacts...)
	h, r := fresh.finish()
	if len(h.items) != 4 || h.password("mine") != "my secret" || h.password("no device share") != "secret of no device share" ||
		h.password("unreadable "+noTitle.String()[:8]) != "secret of no title" {
		t.Fatalf("%d items came back", len(h.items))
	}
	if len(h.lost) != 2 || len(r.Lost) != 1 || r.Lost[0].Slot != junk {
		t.Errorf("lost at first %v, in the end %v", h.lost, r.Lost)
	}
	for title, want := range map[string]string{"mine": "my secret", "no device share": "secret of no device share", noTitle.String(): "secret of no title"} {
		fresh.wantSecret(title, want)
	}
	for _, c := range contacts {
		c.sync()
	}
	if s := fresh.sync(); len(s.Committed) != 0 {
		t.Errorf("committed %v with a slot that is not split", s.Committed)
	}
	st, err := fresh.Status(ctx)
	if err != nil || !st.Recoverable || st.Next == nil || st.Next.Unsplit != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
	must(t, fresh.Delete(ctx, mustFind(t, fresh.Device, junk.String()[:8]).ID))
	if s := fresh.sync(); len(s.Committed) != 1 || s.Committed[0] != 2 {
		t.Errorf("committed %v: %q", s.Committed, s.Notes)
	}
}
