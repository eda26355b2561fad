package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// wording says what proposed records would do, for the person who is asked to
// confirm them. Nothing that the author says about itself stands here unless it is
// in a record.
type wording struct {
	d     *Device
	s     *ledger.State
	item  *PendingItem
	names contactNames
}

func (w *wording) say(format string, args ...any) {
	w.item.What = append(w.item.What, fmt.Sprintf(format, args...))
}

func (w *wording) look(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.item.Look, text) {
		w.item.Look = append(w.item.Look, text)
	}
}

func (w *wording) records(records []*recordv1.Record) {
	w.names = w.d.contactNames(w.s)
	w.slots(records)
	for _, record := range records {
		switch r := record.Kind.(type) {
		case *recordv1.Record_SlotPut:
		case *recordv1.Record_SlotDeleted:
			w.say("delete %s", w.title(ledger.SlotID(r.SlotDeleted.Slot)))
		case *recordv1.Record_EpochPrepared:
			w.epoch(r.EpochPrepared)
		case *recordv1.Record_ContactBound:
			w.contact(r.ContactBound)
		case *recordv1.Record_DeviceAdded:
			w.added(r.DeviceAdded)
		case *recordv1.Record_DeviceLocked:
			w.say("lock %s", w.device(r.DeviceLocked.Device))
		case *recordv1.Record_DeviceUnlocked:
			w.say("unlock %s", w.device(r.DeviceUnlocked.Device))
			w.look("an unlocked device can ask for everything again: is it in your hands?")
		case *recordv1.Record_DeviceRevoked:
			w.say("revoke %s for good", w.device(r.DeviceRevoked.Device))
		case *recordv1.Record_DeviceRenamed:
			w.say("call %s %s", w.device(r.DeviceRenamed.Device), w.newName(r.DeviceRenamed))
		case *recordv1.Record_PolicyChanged:
			w.policy(r.PolicyChanged.Policy)
		case *recordv1.Record_ServerKeyChanged:
			w.say("use other keys of the server, at %s", r.ServerKeyChanged.Server.Url)
			w.look("the server's new keys get the server's share of everything that is stored from now on: are they what zeropass-server printed? Fingerprint until now %s, then %s",
				fingerprint(w.s.Server()), fingerprint(r.ServerKeyChanged.Server))
		default:
			w.say("write into the ledger: %s", record.ProtoReflect().WhichOneof(record.ProtoReflect().Descriptor().Oneofs().ByName("kind")).Name())
		}
	}
}

// fingerprint is that of a server's keys as zeropass-server prints it: the first
// 128 bits of the SHA-256 of both, in hexadecimal groups of four.
func fingerprint(server *recordv1.Server) string {
	sum := sha256.Sum256(slices.Concat(server.SignKey, server.SealKey))
	return strings.TrimSpace(regexp.MustCompile("....").ReplaceAllString(hex.EncodeToString(sum[:16]), "$0 "))
}

// title is what a slot is called now.
func (w *wording) title(id ledger.SlotID) string {
	slot, ok := w.s.Slot(id)
	if !ok {
		return "an unknown secret (slot " + id.String()[:8] + ")"
	}
	if m, err := w.d.metadata(w.s, slot.Put(w.s.InUse().Number)); err == nil {
		return fmt.Sprintf("%q", describe(m))
	}
	return "a secret whose title cannot be read (slot " + id.String()[:8] + ")"
}

// slots tells what is split again from what is changed: the first is the same
// secret, as far as anybody but the author can know. Every version in the entry is
// named, and every copy of one that is called otherwise.
func (w *wording) slots(records []*recordv1.Record) {
	type named struct {
		version  uint64
		metadata *recordv1.SlotMetadata
	}
	again, epoch := 0, uint64(0)
	last := map[ledger.SlotID]named{}
	for _, record := range records {
		put := record.GetSlotPut()
		if put == nil {
			continue
		}
		id := ledger.SlotID(put.Slot)
		slot, ok := w.s.Slot(id)
		now := named{version: put.Version}
		now.metadata, _ = w.d.metadata(w.s, put) // nil if it does not open
		if ok && put.Version <= slot.Version {
			again, epoch = again+1, put.Epoch
			old, _ := w.d.metadata(w.s, slot.VersionPut(put.Version, w.s.InUse().Number))
			if old != nil && !proto.Equal(old, now.metadata) {
				w.look("%s is to be called %s in the next epoch, or to be for other addresses", w.title(id), quoteMetadata(now.metadata))
			}
			continue
		}
		before, named := last[id]
		last[id] = now
		if named && before.version == now.version && proto.Equal(before.metadata, now.metadata) {
			continue // its copy in the prepared epoch
		}
		name := quoteMetadata(now.metadata)
		switch old := w.title(id); {
		case !ok && put.Version == 1:
			w.say("store %s", name)
		case !ok || old == name:
			w.say("change %s to version %d", name, put.Version)
		default:
			w.say("change %s to version %d, called %s", old, put.Version, name)
		}
	}
	if again > 0 {
		w.say("split %s again, in epoch %d", count(again, "secret"), epoch)
	}
}

func quoteMetadata(m *recordv1.SlotMetadata) string {
	if m == nil {
		return "an unreadable title"
	}
	return fmt.Sprintf("%q", describe(m))
}

func (w *wording) epoch(r *recordv1.EpochPrepared) {
	period := time.Duration(r.WaitingPeriod) * time.Second
	w.say("prepare epoch %d with a new seed: %d of %d contacts, waiting period %s", r.Epoch, r.Quorum, len(r.Members), inWords(period))
	w.look("that device makes the new seed: whoever controls it could keep it")
	old := w.s.InUse()
	if int(r.Quorum) < old.Quorum() {
		w.look("fewer contacts than now are enough for a recovery: %d instead of %d", r.Quorum, old.Quorum())
	}
	if period < old.WaitingPeriod() {
		w.look("the waiting period becomes shorter: %s instead of %s", inWords(period), inWords(old.WaitingPeriod()))
	}
	if len(r.SheetKey) > 0 {
		w.look("it comes with a printed sheet, which counts as much as a quorum of contacts")
	}
}

// contact says who gets a share, by the name that the proposal gives. A contact
// that keeps its part is nothing to look at; one with other keys or another name is.
func (w *wording) contact(r *recordv1.ContactBound) {
	name, readable := w.d.boundName(w.s, r)
	if !readable {
		w.look("%s: %s", name, unreadableName)
	}
	if r.Contact == nil {
		called := ""
		if name != "paper" {
			called = fmt.Sprintf(", called %q", name)
		}
		w.say("print share %d of epoch %d on paper%s", r.Member, r.Epoch, called)
		w.look("whoever gets the paper has a share")
		return
	}
	w.contactName(r.Contact, name)
	for _, known := range contactsToKeep(w.s) {
		if !bytes.Equal(known.Account, r.Contact.Account) {
			continue
		}
		if accountOf(known) == accountOf(r.Contact) && sameDevices(known, r.Contact) {
			w.say("give %s share %d of epoch %d, as a contact that you have", name, r.Member, r.Epoch)
			return
		}
		w.look("%s is a contact with other keys until now", name)
	}
	w.say("make %s a contact: share %d of epoch %d; its eight words: %s", name, r.Member, r.Epoch, contactPhrase(r.Contact))
	w.look("the eight words must be those that %s read out when you compared them", name)
}

// contactName compares a contact's name with those that contacts have now.
func (w *wording) contactName(c *recordv1.Contact, name string) {
	if before := w.names[accountOf(c)]; before != "" && before != name {
		w.look("%s is called %s until now", name, before)
	}
	if other := w.names.another(c, name); other != "" {
		w.look("another contact, account %s, is called %s as well", other[:8], name)
	}
}

func sameDevices(a, b *recordv1.Contact) bool {
	return slices.EqualFunc(a.Devices, b.Devices, func(x, y *recordv1.ContactDevice) bool {
		return bytes.Equal(x.SignKey, y.SignKey) && bytes.Equal(x.SealKey, y.SealKey)
	})
}

func (w *wording) added(r *recordv1.DeviceAdded) {
	account := w.s.Account()
	name := ""
	if g, err := w.d.generation(w.s, r.Keys.Generation); err == nil {
		if key, err := signing.NewPublicKey(r.Keys.SignKey); err == nil {
			if b, err := g.Metadata.Open(deviceNameContext(account[:], key, r.Keys.Generation), r.Keys.SealedName); err == nil {
				name = fmt.Sprintf(" (%q)", printableName(b))
			}
		}
	}
	w.say("add device %d%s to the account", r.Device, name)
	w.look("a new device can ask for everything; both phrases must be the same on its screen")
	phrases := addedPhrases(account, r)
	w.item.Phrases = &phrases
}

// newName is what a device is to be called.
func (w *wording) newName(r *recordv1.DeviceRenamed) string {
	own, ok := w.s.Device(r.Device)
	g, err := w.d.generation(w.s, r.Generation)
	if ok && err == nil {
		name, err := g.Metadata.Open(renamedContext(w.s.Account(), own.SignKey, r.Generation, own.Name.Version+1), r.SealedName)
		if err == nil {
			return fmt.Sprintf("%q", printableName(name))
		}
	}
	return "by an unreadable name"
}

func (w *wording) device(number uint64) string {
	return WaitingDevice{number, w.d.deviceName(number)}.String()
}

func (w *wording) policy(p *recordv1.Policy) {
	chosen, _ := w.s.ComingPolicy()
	w.say("let the server answer %d requests for secrets in an hour and %d in a day, instead of %d and %d",
		p.RevealsPerHour, p.RevealsPerDay, chosen.RevealsPerHour, chosen.RevealsPerDay)
	if p.RevealsPerHour > chosen.RevealsPerHour || p.RevealsPerDay > chosen.RevealsPerDay {
		w.look("the limits become higher, when the waiting period has passed")
	}
}
