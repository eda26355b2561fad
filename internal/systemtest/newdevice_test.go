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
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/hpke"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/device"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/seed"
	"zeropass.dev/zeropass/signing"
)

// addition is the record that adds the one device that asks, with every key that
// the stolen one has. Group 1's share of the seed is nothing that opens.
func (th *thief) addition() *recordv1.DeviceAdded {
	t := th.w.t
	t.Helper()
	joins, err := th.server.Joins(context.Background(), th.identity())
	must(t, err)
	request, err := ledger.ParseDeviceRequest(joins[0].Request)
	must(t, err)
	m := request.Message()
	sealKey, err := hpke.NewPublicKey(m.SealKey)
	must(t, err)
	to := &ledger.Device{Number: uint64(len(th.state.Devices()) + 1), SealKey: sealKey}
	added := &recordv1.DeviceAdded{
		Device: to.Number,
		Keys:   &recordv1.DeviceKeys{SignKey: m.SignKey, SealKey: m.SealKey, ConfirmKey: m.ConfirmKey, Generation: th.state.Generation()},
	}
	for _, g := range th.generations() {
		sealed, err := g.SealTo(rand.Reader, th.keys.Account, th.keys.Device, to)
		must(t, err)
		added.Generations = append(added.Generations, sealed)
		added.Keys.SealedName, err = g.Metadata.Seal(rand.Reader, signing.NewContext("device-name"), []byte("tablet"))
		must(t, err)
	}
	sealed, author, _ := th.state.SeedShare(1, th.keys.Device)
	share, err := seed.OpenDeviceShare(th.keys.Seal, th.keys.Account, th.state.InUse().Record, author, th.keys.Device, sealed)
	must(t, err)
	other, err := seed.SealDeviceShare(rand.Reader, th.keys.Account, 2, th.keys.Device, to, share) // of another epoch
	must(t, err)
	added.SeedShares = []*recordv1.SealedToEpoch{{Epoch: 1, Sealed: other}}
	return added
}

// appendEndorsed appends a record of a device that is alone, after the device that
// is added has endorsed it.
func (th *thief) appendEndorsed(kind proto.Message) {
	t := th.w.t
	t.Helper()
	ctx := context.Background()
	record, err := ledger.NewRecord(kind)
	must(t, err)
	head := th.state.Head()
	p := &recordv1.Proposal{
		Nonce: random(t, 16), BaseSequence: head.Sequence, BaseHash: head.Hash[:], Expiry: uint64(th.w.now().Add(10 * time.Minute).UnixMilli()),
	}
	exact, err := canonical.Marshal(p)
	must(t, err)
	prepared, err := th.server.PreparePropose(th.identity(), &apiv1.ProposeRequest{Proposal: exact, Records: [][]byte{record}})
	must(t, err)
	for tries := 0; ; tries++ {
		answer, err := prepared.Send(ctx)
		if err == nil {
			p.Endorsements = answer.Endorsements
			break
		}
		if errors.Is(err, api.ErrConfirmationMissing) {
			break // nobody else has to endorse it
		}
		if !errors.Is(err, api.ErrConfirmationPending) || tries > 500 {
			t.Error(err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	confirm, err := th.home.ConfirmKey([]byte(confirmPassphrase))
	must(t, err)
	role := recordv1.Endorsement_ROLE_CONFIRM
	p.Endorsements = append(p.Endorsements, &recordv1.Endorsement{
		Role: role, Device: th.keys.Device,
		Signature: confirm.Sign(ledger.ProposalContext(th.keys.Account, p, th.keys.Device, [][]byte{record}, role, th.keys.Device)),
	})
	entry, err := ledger.Draft{
		Account: &th.keys.Account, Previous: head, Time: th.w.now(), Author: th.keys.Device, Records: [][]byte{record}, Proposal: p,
	}.Sign(th.keys.Sign)
	must(t, err)
	_, _, err = th.server.Append(ctx, th.identity(), &apiv1.AppendRequest{Entries: [][]byte{entry.Bytes()}})
	must(t, err)
}

// The fold takes any bytes as what is sealed to a new device. The device itself does
// not say that it is added before it has opened all of it.
func TestNewDeviceOpensItsShareOfTheSeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann", nil)
	th := w.thiefOf(ann)
	j := w.startJoin(ann, nil)
	th.appendEndorsed(th.addition())
	<-j.done
	wantCode(t, j.err, device.CodeFailed)
	if !strings.Contains(j.err.Error(), "what device 1 sealed to this one does not open") || !strings.Contains(j.err.Error(), "share of the seed of epoch 1") {
		t.Fatal(j.err)
	}
	ann.sync()
	if all := ann.devices(); len(all) != 2 || all[1].Status != ledger.Active {
		t.Errorf("%+v", all)
	}
}

// A device that is unlocked with bytes that do not open says so.
func TestUnlockedDeviceOpensItsShareOfTheSeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	laptop, phone := w.twoDevices()
	if notes := strings.Join(phone.sync().Notes, "\n"); strings.Contains(notes, "does not open") {
		t.Fatal(notes)
	}
	_, err := laptop.LockDevice(ctx, 2)
	must(t, err)
	w.wait(waiting)
	// What was prepared while it was locked, and so is missing, is brought by the unlocking.
	_, err = laptop.Rotate(ctx, device.RotateOptions{})
	must(t, err)
	th := w.thiefOf(laptop)
	own, _ := th.state.Device(2)
	missing, epochs := th.state.Missing(2)
	unlocked := &recordv1.DeviceUnlocked{Device: 2}
	for _, number := range missing {
		sealed, err := th.generations()[number-1].SealTo(rand.Reader, th.keys.Account, 1, own)
		must(t, err)
		unlocked.Generations = append(unlocked.Generations, sealed)
	}
	for _, epoch := range epochs {
		sealed, _, _ := th.state.SeedShare(epoch, 1)
		unlocked.SeedShares = append(unlocked.SeedShares, &recordv1.SealedToEpoch{Epoch: epoch, Sealed: sealed})
	}
	if len(epochs) == 0 {
		t.Fatal("nothing is missing")
	}
	th.appendEndorsed(unlocked)
	if notes := strings.Join(phone.sync().Notes, "\n"); !strings.Contains(notes, "sealed to this device does not open") {
		t.Errorf("it notes %q", notes)
	}
}
