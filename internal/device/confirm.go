package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zeropass.dev/zeropass/canonical"
	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// PendingItem is what another device, or this one, waits to have confirmed. What it
// says comes from the request, which the asking device signed, and from this
// device's own ledger; nothing of it is the server's word but Expires and
// Answered.
type PendingItem struct {
	ID         string // hexadecimal; names exactly what is shown here
	Device     uint64 // that asks
	DeviceName string
	Own        bool     // this device asks, and may withdraw it
	What       []string // what it asks for, in words
	Look       []string // why to look twice, in words
	Bulk       bool     // a bulk reveal; all of its requests are this one item
	Asked      time.Time
	Expires    time.Time
	Answered   []uint64       // devices that have confirmed it; 0 for the new device
	Done       bool           // this device has answered it
	Dishonest  bool           // it was changed on its way, or nobody signed it
	Cannot     string         // why this device cannot confirm it; empty if it can
	Phrases    *DevicePhrases // of a device that is added: both must be the same on its screen

	requests []*waitingRequest
}

// waitingRequest is one request that waits, after its signature was checked.
type waitingRequest struct {
	*api.Request
	shown    *apiv1.Waiting
	author   *ledger.Device
	proposal *ledger.Proposal // of a Propose
}

// answeredFile remembers what this device has answered, for as long as it could be
// asked again.
const answeredFile = "answered"

type answeredBook struct {
	Requests map[string]time.Time // by id, in hexadecimal
}

// Pending returns what waits for the second factor in this account, the oldest
// first, after it has brought the ledgers together. A request that was changed on
// its way, or that nobody signed, is an item that says so.
func (d *Device) Pending(ctx context.Context) ([]PendingItem, error) {
	if err := d.refresh(ctx); err != nil {
		return nil, d.noticeRevoked(err, "bring the ledgers together")
	}
	items, err := d.pendingItems(ctx)
	if err != nil {
		return nil, explain(err, "read what waits to be confirmed")
	}
	return items, nil
}

func (d *Device) pendingItems(ctx context.Context) ([]PendingItem, error) {
	shown, err := d.client.Pending(ctx, d.identity())
	if err != nil {
		return nil, err
	}
	var items []*PendingItem
	bulk := map[string]*PendingItem{}
	for _, w := range shown {
		r, err := d.checkWaiting(w)
		var item *PendingItem
		group := ""
		if err == nil {
			item, group, err = d.describePending(r)
		}
		if err != nil {
			items = append(items, unreadable(w, err))
			continue
		}
		if first := bulk[group]; item.Bulk && first != nil {
			first.join(item)
			continue
		}
		if bulk[group] = item; !item.Bulk {
			delete(bulk, group)
		}
		items = append(items, item)
	}
	book, err := d.answeredBook()
	if err != nil {
		return nil, err
	}
	all := make([]PendingItem, 0, len(items))
	for _, item := range items {
		item.finish(book)
		all = append(all, *item)
	}
	return all, nil
}

// unreadable is the item of a request that says nothing that this device believes:
// it hides no other, and can be refused.
func unreadable(w *apiv1.Waiting, why error) *PendingItem {
	item := &PendingItem{
		What: []string{"something that this device cannot read"}, Cannot: why.Error(), Expires: millis(w.GetExpires()),
		Dishonest: errors.Is(why, client.ErrDishonest),
		requests:  []*waitingRequest{{Request: &api.Request{Hash: api.RequestHash(w.GetRequest())}, shown: w}},
	}
	header := &apiv1.RequestHeader{}
	if canonical.Unmarshal(w.GetRequest().GetHeader(), header) == nil {
		item.Device = header.Device // as it says
	}
	if item.Dishonest {
		item.Look = []string{"the server, or a device of yours, shows what it should not: " + why.Error()}
	}
	return item
}

// join makes one item of two requests of a bulk reveal.
func (i *PendingItem) join(other *PendingItem) {
	i.requests = append(i.requests, other.requests...)
	i.What = append(i.What, other.What...)
	if i.Cannot == "" {
		i.Cannot = other.Cannot
	}
	if other.Expires.Before(i.Expires) {
		i.Expires = other.Expires
	}
}

// maxTitles is up to how many secrets of a bulk reveal are named one by one.
const maxTitles = 10

// finish gives the item its id, which changes with what is in it: a request that
// comes while a person looks is not confirmed unseen.
func (i *PendingItem) finish(book *answeredBook) {
	if len(i.requests) == 1 {
		i.ID = hex.EncodeToString(i.requests[0].Hash[:])
	} else {
		h := sha256.New()
		for _, r := range i.requests {
			h.Write(r.Hash[:])
		}
		i.ID = hex.EncodeToString(h.Sum(nil))
	}
	i.Done = true
	for _, r := range i.requests {
		if _, ok := book.Requests[hex.EncodeToString(r.Hash[:])]; !ok {
			i.Done = false
		}
	}
	if i.Done && i.Cannot == "" {
		i.Cannot = "this device has answered it"
	}
	if i.Bulk {
		slots := 0
		for _, r := range i.requests {
			asked := &apiv1.RevealRequest{}
			if r.Decode(asked) == nil {
				slots += len(asked.Slots)
			}
		}
		titles := i.What
		i.What = []string{fmt.Sprintf("see %s at once (%s)", count(slots, "secret"), i.purpose())}
		if len(titles) <= maxTitles {
			i.What = append(i.What, titles...)
		}
		i.Look = append(i.Look, "whoever holds that device then has all of them")
	}
}

func (i *PendingItem) purpose() string {
	asked := &apiv1.RevealRequest{}
	_ = i.requests[0].Decode(asked) // it was read before
	return asked.Purpose
}

// checkWaiting reads a request that the server shows, and believes nothing that
// the asking device did not sign.
func (d *Device) checkWaiting(w *apiv1.Waiting) (*waitingRequest, error) {
	header := &apiv1.RequestHeader{}
	if err := canonical.Unmarshal(w.GetRequest().GetHeader(), header); err != nil {
		return nil, fmt.Errorf("%w: it shows a request that cannot be read: %w", client.ErrDishonest, err)
	}
	parsed, err := api.ParseRequest(header.Procedure, w.Request)
	if errors.Is(err, api.ErrNeedsNewerProgram) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it shows a request that was changed on its way: %w", client.ErrDishonest, err)
	}
	if account, ok := parsed.Account(); !ok || account != d.keys.Account || !bytes.Equal(parsed.Header.Server, d.server.Bytes()) {
		return nil, fmt.Errorf("%w: it shows a request that is not for this account and server", client.ErrDishonest)
	}
	r := &waitingRequest{Request: parsed, shown: w}
	if author, ok := d.home.State().Device(parsed.Header.Device); ok {
		if !author.SignKey.Equal(parsed.Key) {
			return nil, fmt.Errorf("%w: it shows a request in the name of device %d that device %d did not sign", client.ErrDishonest, author.Number, author.Number)
		}
		r.author = author
	}
	return r, nil
}

// describePending says in words what a request asks for, and what speaks against
// confirming it here. group is the same for all requests of one bulk reveal.
func (d *Device) describePending(r *waitingRequest) (item *PendingItem, group string, err error) {
	item = &PendingItem{
		Device: r.Header.Device, DeviceName: d.deviceName(r.Header.Device), Own: r.Header.Device == d.keys.Device,
		Asked: r.Time, Expires: millis(r.shown.Expires), Answered: r.shown.Answered,
		requests: []*waitingRequest{r},
	}
	if expires := r.Time.Add(api.PendingLife + api.MaxClockSkew); item.Expires.After(expires) {
		item.Expires = expires
	}
	switch r.Header.Procedure {
	case apiv1connect.ServerServiceRevealProcedure:
		group, err = d.describeReveal(item, r)
	case apiv1connect.ServerServiceProposeProcedure:
		err = d.describeProposal(item, r)
	case apiv1connect.ServerServiceSetAlarmsProcedure:
		err = describeAlarms(item, r)
	default:
		item.What = []string{"ask for " + procedureName(r.Header.Procedure)}
		item.Cannot = "this program does not know what that is; install a newer one"
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: it shows a request of device %d that cannot be read: %w", client.ErrDishonest, r.Header.Device, err)
	}
	switch now := d.o.Now(); {
	case item.Own:
		item.Cannot = "this device asks for it: another one must confirm it"
	case r.author == nil:
		item.Cannot = "the device that asks is not in this device's ledger"
	case r.author.Status != ledger.Active:
		item.Cannot = fmt.Sprintf("device %d is %v", r.author.Number, r.author.Status)
	case now.Sub(r.Time) > api.PendingLife+2*api.MaxClockSkew || r.Time.Sub(now) > 2*api.MaxClockSkew:
		item.Cannot = "it was asked at another time than now: it is an old one, or a clock is wrong"
	}
	return item, group, nil
}

// describeReveal names the slots by this device's own ledger. What is not there
// cannot be confirmed.
func (d *Device) describeReveal(item *PendingItem, r *waitingRequest) (group string, err error) {
	asked := &apiv1.RevealRequest{}
	if err := r.Decode(asked); err != nil {
		return "", err
	}
	item.Bulk = asked.Purpose != api.PurposeGet || len(asked.Slots) != 1
	s := d.home.State()
	for _, v := range asked.Slots {
		if len(v.Slot) != len(ledger.SlotID{}) {
			return "", fmt.Errorf("a slot id of %d bytes", len(v.Slot))
		}
		slot, ok := s.Slot(ledger.SlotID(v.Slot))
		if !ok || slot.VersionPut(v.Version, v.Epoch) == nil {
			item.What = append(item.What, fmt.Sprintf("see an unknown secret (slot %x)", v.Slot[:4]))
			item.Cannot = "it asks for a secret that is not in this device's ledger"
			continue
		}
		title := slot.ID.String()[:8]
		if m, err := d.metadata(s, slot.VersionPut(v.Version, v.Epoch)); err == nil {
			title = fmt.Sprintf("%q", describe(m))
		}
		switch what := "see " + title; {
		case slot.Deleted:
			item.What = append(item.What, what+", which is deleted")
		case v.Version < slot.Version:
			item.What = append(item.What, fmt.Sprintf("%s, in the older version %d", what, v.Version))
		default:
			item.What = append(item.What, what)
		}
	}
	return fmt.Sprintf("%d %s", item.Device, asked.Purpose), nil
}

// describeProposal asks the fold whether the records could follow now, and says
// what each would do.
func (d *Device) describeProposal(item *PendingItem, r *waitingRequest) error {
	asked := &apiv1.ProposeRequest{}
	if err := r.Decode(asked); err != nil {
		return err
	}
	p, err := ledger.ParseProposal(asked.Proposal, asked.Records)
	if err != nil {
		return err
	}
	r.proposal = p
	s := d.home.State()
	if err := s.CheckProposal(p, r.Header.Device, d.o.Now()); err != nil {
		item.Cannot = fmt.Sprintf("this device's ledger does not admit it: %v", err)
	}
	// An author that keeps the endorsements back could use them until then.
	if expiry := millis(p.Message().Expiry); expiry.After(d.o.Now().Add(api.ProposalLife + 2*api.MaxClockSkew)) {
		item.Cannot = fmt.Sprintf("it could be used until %s, long after it was asked", expiry.Format(time.DateTime))
	}
	if item.Cannot == "" {
		if err := d.checkSealedHere(s, r.Header.Device, p.Records()); err != nil {
			item.Cannot = fmt.Sprintf("what it seals to this device is wrong, so it may be to shut this device out: %v", err)
		}
	}
	for _, record := range p.Records() {
		if subject := subjectOf(record); subject == d.keys.Device {
			item.Cannot = "it is about this device: a third one must confirm it"
		}
	}
	w := wording{d: d, s: s, item: item}
	w.records(p.Records())
	return nil
}

func describeAlarms(item *PendingItem, r *waitingRequest) error {
	asked := &apiv1.SetAlarmsRequest{}
	if err := r.Decode(asked); err != nil {
		return err
	}
	var to []string
	if mail := asked.GetSettings().GetMail(); mail != "" {
		to = append(to, "mail to "+mail)
	}
	if hook := asked.GetSettings().GetWebhook(); hook != "" {
		to = append(to, "a call to "+hook)
	}
	if len(to) == 0 {
		item.What = []string{"have the server send alarms nowhere but to the devices"}
	} else {
		item.What = []string{"have the server send alarms as " + strings.Join(to, " and ")}
	}
	item.Look = append(item.Look, "whoever changes where alarms go may not want you to see them")
	return nil
}

// ConfirmPending is this device's second factor for what an id names, or the
// beginning of one. It returns what was confirmed. Show the item to a person
// before: see [Device.Pending].
func (d *Device) ConfirmPending(ctx context.Context, id string) (*PendingItem, error) {
	item, err := d.findPending(ctx, id)
	if err != nil {
		return nil, err
	}
	if item.Cannot != "" {
		return nil, failure(CodeRefused, nil, "zeropass pending shows what waits", "this device cannot confirm it: %s", item.Cannot)
	}
	return item, d.answerPending(ctx, item, "confirm it", func(r *waitingRequest) (*apiv1.ConfirmRequest, error) {
		if slices.Contains(r.shown.Answered, d.keys.Device) {
			return nil, nil // before it was stopped, in the middle of a bulk reveal
		}
		if r.proposal == nil {
			c, err := api.NewConfirmation(r.Hash, apiv1.Confirmation_KEY_SIGN, d.keys.Device, d.keys.Sign)
			return &apiv1.ConfirmRequest{Id: r.Hash[:], Confirmation: c}, err
		}
		role := recordv1.Endorsement_ROLE_DEVICE
		c := ledger.ProposalContext(d.keys.Account, r.proposal.Message(), r.Header.Device, r.proposal.Bytes(), role, d.keys.Device)
		signature, err := d.keys.Sign.SignContext(c)
		return &apiv1.ConfirmRequest{Id: r.Hash[:], Endorsement: &recordv1.Endorsement{Role: role, Device: d.keys.Device, Signature: signature}}, err
	})
}

// RefusePending ends for good what an id names: the device that asked is told who
// refused. The device that asked withdraws its own request so.
func (d *Device) RefusePending(ctx context.Context, id string) (*PendingItem, error) {
	item, err := d.findPending(ctx, id)
	if err != nil {
		return nil, err
	}
	return item, d.answerPending(ctx, item, "refuse it", func(r *waitingRequest) (*apiv1.ConfirmRequest, error) {
		return &apiv1.ConfirmRequest{Id: r.Hash[:], Refuse: true}, nil
	})
}

// answerPending sends an answer to each request of an item; nil is none.
func (d *Device) answerPending(ctx context.Context, item *PendingItem, doing string, answer func(*waitingRequest) (*apiv1.ConfirmRequest, error)) error {
	for _, r := range item.requests {
		a, err := answer(r)
		if err != nil {
			return explain(err, doing)
		}
		if a == nil {
			continue
		}
		err = d.client.Confirm(ctx, d.identity(), a)
		if signed(err) && errors.Is(err, api.ErrUnknownPending) {
			return failure(CodeNotFound, err, "zeropass pending shows what waits", "it does not wait any more: it was answered elsewhere, withdrawn, or its time is over")
		}
		if err != nil {
			return explain(err, doing)
		}
		if err := d.rememberAnswered(r.Hash); err != nil {
			return explain(err, doing)
		}
	}
	return nil
}

func (d *Device) answeredBook() (*answeredBook, error) {
	book, err := load[answeredBook](d, answeredFile)
	if err != nil {
		return nil, err
	}
	if book == nil || book.Requests == nil {
		book = &answeredBook{Requests: map[string]time.Time{}}
	}
	return book, nil
}

func (d *Device) rememberAnswered(id [32]byte) error {
	book, err := d.answeredBook()
	if err != nil {
		return err
	}
	now := d.o.Now()
	for old, at := range book.Requests {
		if now.Sub(at) > 2*api.PendingLife+4*api.MaxClockSkew {
			delete(book.Requests, old)
		}
	}
	book.Requests[hex.EncodeToString(id[:])] = now
	return d.save(answeredFile, book)
}

// findPending returns the item whose id begins with the digits, or the only one
// that waits for this device, if none are given.
func (d *Device) findPending(ctx context.Context, id string) (*PendingItem, error) {
	items, err := d.Pending(ctx)
	if err != nil {
		return nil, err
	}
	return PickPending(items, id)
}

// PickPending returns the item whose id begins with the digits, or, if none are
// given, the only one that this device can confirm.
func PickPending(items []PendingItem, id string) (*PendingItem, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	var found []*PendingItem
	for i := range items {
		if id == "" && items[i].Cannot == "" || id != "" && strings.HasPrefix(items[i].ID, id) {
			found = append(found, &items[i])
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && id == "":
		return nil, failure(CodeNotFound, nil, "zeropass pending shows what this device itself waits for", "nothing waits for this device")
	case len(found) == 0:
		return nil, failure(CodeNotFound, nil, "zeropass pending shows what waits now", "nothing that waits has the id %s", id)
	}
	return nil, failure(CodeUsage, nil, "name one; zeropass pending shows their ids", "%d requests wait", len(found))
}

// deviceName opens the name of a device of this account; it is empty where that
// cannot be done.
func (d *Device) deviceName(number uint64) string {
	s := d.home.State()
	if s == nil {
		return ""
	}
	known, ok := s.Device(number)
	if !ok {
		return ""
	}
	return d.nameOf(s, known)
}

func subjectOf(record *recordv1.Record) uint64 {
	return max(record.GetDeviceLocked().GetDevice(), record.GetDeviceUnlocked().GetDevice(),
		record.GetDeviceRevoked().GetDevice(), record.GetDeviceRenamed().GetDevice())
}
