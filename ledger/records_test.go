package ledger

import (
	"bytes"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// The records of a world, each valid in its present state.

func (w *world) genesis() *recordv1.Genesis {
	w.devices[1] = w.keys()
	return &recordv1.Genesis{
		Server: w.server.server(),
		Device: w.devices[1].deviceKeys(1),
		Policy: &recordv1.Policy{RevealsPerHour: 10, RevealsPerDay: 50},
	}
}

// epochSpec says what the next epoch is like.
type epochSpec struct {
	quorum, members uint64
	sheet           bool
	waiting         time.Duration
}

var usual = epochSpec{quorum: 2, members: 3, waiting: 72 * time.Hour}

func (w *world) epochPrepared(spec epochSpec) *recordv1.EpochPrepared {
	number := w.state.NextEpoch()
	k := &epochKeys{root: w.signKey()}
	w.epochs[number] = k
	r := &recordv1.EpochPrepared{
		Epoch:           number,
		RootKey:         k.root.PublicKey().Bytes(),
		Identifier:      4711,
		Quorum:          spec.quorum,
		WaitingPeriod:   uint64(spec.waiting / time.Second),
		Generation:      max(1, w.state.Generation()),
		SealedMasterKey: w.sealed(),
		ServerShareHash: w.bytes(32),
		DeviceShareHash: w.bytes(32),
	}
	if spec.sheet {
		k.sheet = w.signKey()
		r.SheetKey = k.sheet.PublicKey().Bytes()
	}
	for range spec.members {
		share := w.signKey()
		k.shares = append(k.shares, share)
		r.Members = append(r.Members, &recordv1.Member{ShareKey: share.PublicKey().Bytes(), Waiting: w.split(r.Generation, false)})
	}
	active := w.state.ActiveDevices()
	for _, d := range active {
		r.SeedShares = append(r.SeedShares, &recordv1.SealedToDevice{Device: d.Number, Sealed: w.sealed()})
	}
	for g := uint64(1); g <= r.Generation; g++ {
		r.Generations = append(r.Generations, w.generation(g, g >= w.state.openSince, active, number))
	}
	r.DeviceListSignature = k.root.Sign(DeviceListContext(w.state.Account(), number, active))
	return r
}

func (w *world) generation(number uint64, open bool, devices []*Device, epochs ...uint64) *recordv1.KeyGeneration {
	g := &recordv1.KeyGeneration{Number: number}
	for _, d := range devices {
		g.MetadataKeys = append(g.MetadataKeys, &recordv1.SealedToDevice{Device: d.Number, Sealed: w.sealed()})
		if open {
			g.DeviceShareKeys = append(g.DeviceShareKeys, &recordv1.SealedToDevice{Device: d.Number, Sealed: w.sealed()})
		}
	}
	for _, epoch := range epochs {
		g.Backups = append(g.Backups, &recordv1.KeyBackup{Epoch: epoch, PublicKey: w.slotKey, Sealed: w.sealed()})
	}
	return g
}

func (w *world) split(generation uint64, backup bool) *recordv1.SplitSecret {
	s := &recordv1.SplitSecret{
		SealedDeviceShare: w.sealed(),
		Tag:               w.bytes(32),
		DeviceShareHash:   w.bytes(32),
		ServerShareHash:   w.bytes(32),
		Generation:        generation,
	}
	if backup {
		s.BackupShareHash = w.bytes(32)
	}
	return s
}

// openEpoch is the epoch that is being built: the prepared one, or the one in use.
func (w *world) openEpoch() uint64 {
	if p := w.state.Prepared(); p != nil {
		return p.Number
	}
	if e := w.state.InUse(); e != nil {
		return e.Number
	}
	return 1
}

func (w *world) contact(name string) *recordv1.Contact {
	if name == "paper" {
		return nil
	}
	if w.contacts[name] == nil {
		k := w.keys()
		w.contacts[name] = &recordv1.Contact{Account: w.bytes(32), Devices: []*recordv1.ContactDevice{
			{SignKey: k.sign.PublicKey().Bytes(), SealKey: k.seal.PublicKey().Bytes()},
		}}
	}
	return w.contacts[name]
}

func (w *world) contactBound(member uint64, name string) *recordv1.ContactBound {
	return &recordv1.ContactBound{Epoch: w.openEpoch(), Member: member, Contact: w.contact(name), Generation: w.state.Generation(), SealedName: w.bytes(ContactNameSize)}
}

func member(n uint64) *recordv1.Holder {
	return &recordv1.Holder{Kind: recordv1.Holder_KIND_MEMBER, Number: n}
}

var (
	serverHolder = &recordv1.Holder{Kind: recordv1.Holder_KIND_SERVER}
	sheetHolder  = &recordv1.Holder{Kind: recordv1.Holder_KIND_SHEET}
)

func (w *world) holderKey(epoch uint64, h *recordv1.Holder) *signing.PrivateKey {
	switch h.Kind {
	case recordv1.Holder_KIND_DEVICE:
		return w.devices[h.Number].sign
	case recordv1.Holder_KIND_SERVER:
		return w.server.sign
	case recordv1.Holder_KIND_SHEET:
		if k := w.epochs[epoch].sheet; k != nil {
			return k
		}
		return w.signKey()
	}
	if shares := w.epochs[epoch].shares; h.Number <= uint64(len(shares)) {
		return shares[h.Number-1]
	}
	return w.signKey()
}

func (w *world) receipt(h *recordv1.Holder) *recordv1.ShareReceipt {
	epoch := w.openEpoch()
	key := w.holderKey(epoch, h)
	proof := key.PublicKey().Bytes()
	if h.Kind == recordv1.Holder_KIND_SERVER {
		e, _ := w.state.Epoch(epoch)
		proof = e.Record.ServerShareHash
	}
	return &recordv1.ShareReceipt{Epoch: epoch, Holder: h, Signature: key.Sign(ReceiptContext(w.state.Account(), epoch, h, proof))}
}

func (w *world) deviceAdded() *recordv1.DeviceAdded {
	number := w.state.NextDevice()
	w.devices[number] = w.keys()
	r := &recordv1.DeviceAdded{Device: number, Keys: w.devices[number].deviceKeys(w.state.Generation())}
	for g := uint64(1); g <= w.state.Generation(); g++ {
		keys := &recordv1.GenerationKeys{Number: g, MetadataKey: w.sealed()}
		if g >= w.state.openSince {
			keys.DeviceShareKey = w.sealed()
		}
		r.Generations = append(r.Generations, keys)
	}
	for _, epoch := range w.state.writtenEpochs() {
		r.SeedShares = append(r.SeedShares, &recordv1.SealedToEpoch{Epoch: epoch, Sealed: w.sealed()})
	}
	return r
}

// deviceUnlocked brings the device what it has not got.
func (w *world) deviceUnlocked(number uint64) *recordv1.DeviceUnlocked {
	r := &recordv1.DeviceUnlocked{Device: number}
	for g := uint64(1); g <= w.state.Generation(); g++ {
		if _, _, _, ok := w.state.GenerationKeys(g, number); !ok {
			r.Generations = append(r.Generations, &recordv1.GenerationKeys{Number: g, MetadataKey: w.sealed(), DeviceShareKey: w.sealed()})
		}
	}
	for _, epoch := range w.state.writtenEpochs() {
		if _, _, ok := w.state.SeedShare(epoch, number); !ok {
			r.SeedShares = append(r.SeedShares, &recordv1.SealedToEpoch{Epoch: epoch, Sealed: w.sealed()})
		}
	}
	return r
}

func (w *world) deviceRevoked(number uint64) *recordv1.DeviceRevoked {
	stay := slices.DeleteFunc(w.state.ActiveDevices(), func(d *Device) bool { return d.Number == number })
	g := w.state.Generation() + 1
	return &recordv1.DeviceRevoked{Device: number, Generation: w.generation(g, true, stay, w.state.writtenEpochs()...)}
}

func (w *world) deviceRenamed(number uint64) *recordv1.DeviceRenamed {
	return &recordv1.DeviceRenamed{Device: number, Generation: w.state.Generation(), SealedName: w.sealed()}
}

func (w *world) slot(name string) SlotID {
	if _, ok := w.slots[name]; !ok {
		w.slots[name] = SlotID(w.bytes(idSize))
	}
	return w.slots[name]
}

func (w *world) slotPut(id SlotID, version, epoch, counter uint64) *recordv1.SlotPut {
	return &recordv1.SlotPut{
		Slot:              id[:],
		Version:           version,
		Epoch:             epoch,
		Device:            w.author,
		Counter:           counter,
		SlotKey:           w.slotKey,
		Generation:        w.state.Generation(),
		SealedMetadata:    w.sealed(),
		Secret:            w.split(w.state.Generation(), true),
		SealedBackupShare: append(w.sealed(), make([]byte, counter%8)...), // sizes differ
	}
}

// slotPuts writes the next version of a slot in all epochs that it belongs in.
func (w *world) slotPuts(name string) []proto.Message {
	id, version, counter := w.slot(name), uint64(1), w.state.Counter(w.author)
	if slot, ok := w.state.Slot(id); ok {
		version = slot.Version + 1
	}
	var puts []proto.Message
	for i, epoch := range w.state.writtenEpochs() {
		puts = append(puts, w.slotPut(id, version, epoch, counter+uint64(i)+1))
	}
	return puts
}

// stage splits every live slot in the prepared epoch where it is not yet.
func (w *world) stage() []proto.Message {
	counter := w.state.Counter(w.author)
	var puts []proto.Message
	for _, slot := range w.state.LiveSlots() {
		if slot.Put(w.openEpoch()) == nil {
			counter++
			puts = append(puts, w.slotPut(slot.ID, slot.Version, w.openEpoch(), counter))
		}
	}
	return puts
}

func (w *world) serverKeyChanged() (*recordv1.ServerKeyChanged, *keys) {
	k := w.keys()
	return &recordv1.ServerKeyChanged{Server: k.server()}, k
}

func (w *world) request(name string) *recovering {
	if w.requests[name] == nil {
		k := w.keys()
		account := w.state.Account()
		b, err := NewRecoveryRequest(&recordv1.RecoveryRequest{
			Account:    account[:],
			Nonce:      w.bytes(idSize),
			SignKey:    k.sign.PublicKey().Bytes(),
			SealKey:    k.seal.PublicKey().Bytes(),
			ConfirmKey: k.confirm.PublicKey().Bytes(),
			Time:       uint64(w.now.UnixMilli()),
			Server:     w.server.sign.PublicKey().Bytes(),
		}, k.sign)
		must(w.t, err)
		request, err := ParseRecoveryRequest(b)
		must(w.t, err)
		w.requests[name] = &recovering{k, request}
	}
	return w.requests[name]
}

// approval is a valid one of this moment, for a day.
func (w *world) approval(r *recovering, h *recordv1.Holder) *recordv1.Approval {
	account, id := w.state.Account(), r.request.ID()
	a := &recordv1.Approval{
		Request:   id[:],
		Account:   account[:],
		Epoch:     w.state.inUse,
		Holder:    h,
		SignKey:   r.keys.sign.PublicKey().Bytes(),
		SealKey:   r.keys.seal.PublicKey().Bytes(),
		NotBefore: uint64(w.now.UnixMilli()),
		Expiry:    uint64(w.now.Add(24 * time.Hour).UnixMilli()),
	}
	for _, veto := range w.state.Vetoes(id) {
		a.Vetoes = append(a.Vetoes, veto.Entry[:])
	}
	return a
}

func (w *world) signApproval(a *recordv1.Approval) []byte {
	b, err := NewApproval(a, w.holderKey(a.Epoch, a.Holder))
	must(w.t, err)
	return b
}

func (w *world) statement(r *recovering, holders ...*recordv1.Holder) *recordv1.RecoveredStatement {
	number := w.state.NextDevice()
	w.devices[number] = r.keys
	generation := w.state.Generation() + 1
	st := &recordv1.RecoveredStatement{
		Epoch:      w.state.inUse,
		Request:    r.request.Bytes(),
		Device:     number,
		Keys:       r.keys.deviceKeys(generation),
		Generation: w.generation(generation, true, []*Device{{Number: number}}, w.state.inUse),
		SeedShare:  w.sealed(),
	}
	for _, h := range holders {
		st.Approvals = append(st.Approvals, w.signApproval(w.approval(r, h)))
	}
	for g := uint64(1); g < generation; g++ {
		st.Generations = append(st.Generations, &recordv1.GenerationKeys{Number: g, MetadataKey: w.sealed()})
	}
	for _, slot := range w.state.LiveSlots() {
		st.DeviceShares = append(st.DeviceShares, &recordv1.SlotShare{Slot: bytes.Clone(slot.ID[:]), Version: slot.Version, SealedDeviceShare: w.sealed()})
	}
	return st
}

// recovered signs a statement and returns the entry's draft by the new device.
func (w *world) recovered(st *recordv1.RecoveredStatement) *draft {
	b, err := marshal(st)
	must(w.t, err)
	d := w.draft(&recordv1.Recovered{Statement: b, RootSignature: w.epochs[w.state.inUse].root.Sign(RecoveredContext(w.state.Account(), b))})
	d.author = st.Device
	d.key = w.devices[st.Device].sign
	return d
}
