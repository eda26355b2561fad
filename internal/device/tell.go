package device

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// ActivityKind sorts the activity log for whoever looks for something in it.
type ActivityKind string

// Kinds of activity.
const (
	ActivityReveal   ActivityKind = "reveal"
	ActivityConfirm  ActivityKind = "confirm"
	ActivityLedger   ActivityKind = "ledger"
	ActivityDevice   ActivityKind = "device"
	ActivityContact  ActivityKind = "contact"
	ActivityRecovery ActivityKind = "recovery"
	ActivityAlarms   ActivityKind = "alarms"
	ActivityOther    ActivityKind = "other"
)

// ActivityKinds are all kinds.
var ActivityKinds = []ActivityKind{
	ActivityReveal, ActivityConfirm, ActivityLedger, ActivityDevice, ActivityContact, ActivityRecovery, ActivityAlarms, ActivityOther,
}

// tell puts an entry of the activity log into words.
func (d *Device) tell(a *ledger.Activity, titles map[ledger.SlotID]string) ActivityEntry {
	e := ActivityEntry{Sequence: a.Sequence(), Time: a.Time(), Kind: ActivityOther, Exact: a.Bytes()}
	request, body, err := api.ParseLogged(a.Request())
	if err != nil {
		e.Text, e.Alarm = fmt.Sprintf("an entry that nobody signed: %v", err), true
		return e
	}
	who := "a device that is in no ledger"
	switch account, ok := request.Account(); {
	case ok && account != d.keys.Account:
		e.Account = account.String()
		who = "contact " + e.Account[:8]
	case request.Header.Device != 0:
		e.Device = request.Header.Device
		who = fmt.Sprintf("device %d", e.Device)
	}
	e.Procedure = procedureName(request.Header.Procedure)
	switch request.Header.Procedure {
	case apiv1connect.ServerServiceRevealProcedure:
		e.Kind = ActivityReveal
		what := e.reveal(body, titles)
		e.Alarm = e.Purpose != api.PurposeGet
		e.Text = who + " " + d.secondFactor(&e, request, "revealed "+what, "asked to see "+what)
	case apiv1connect.ServerServiceSetAlarmsProcedure:
		e.Kind, e.Alarm = ActivityAlarms, true
		e.Text = who + " " + d.secondFactor(&e, request, "changed where alarms go", "asked to change where alarms go")
	case apiv1connect.ServerServiceConfirmProcedure:
		e.Kind = ActivityConfirm
		e.Text = who + " " + confirmed(body)
	default:
		e.other(request.Header.Procedure, who)
	}
	if !d.askedByUs(e, request) {
		e.Text, e.Alarm = e.Text+"; this device does not know the key that signed it", true
	}
	return e
}

// other tells what needs nothing but the procedure.
func (e *ActivityEntry) other(procedure, who string) {
	said, ok := map[string]struct {
		kind  ActivityKind
		text  string
		alarm bool
	}{
		apiv1connect.ServerServiceCreateAccountProcedure: {ActivityLedger, who + " made the account", false},
		apiv1connect.ServerServiceAppendProcedure:        {ActivityLedger, who + " wrote to the ledger", false},
		apiv1connect.ServerServiceProposeProcedure:       {ActivityConfirm, who + " asked other devices to endorse a change", false},
		apiv1connect.ServerServiceSeedHalfProcedure:      {ActivityLedger, who + " took the server's half of a new seed", false},
		apiv1connect.ServerServicePaperHalfProcedure:     {ActivityContact, who + " took the server's half of a share for paper", false},
		apiv1connect.ServerServiceSendMessageProcedure:   {ActivityContact, who + " sent a message to another account", false},
		apiv1connect.ServerServiceJoinProcedure:          {ActivityDevice, "a new device asked to be added to the account", true},
		apiv1connect.ServerServiceAlarmsProcedure:        {ActivityAlarms, who + " asked for a test of the alarms", false},
		apiv1connect.ServerServiceStartRecoveryProcedure: {ActivityRecovery, "a new device asked to recover the account", true},
		apiv1connect.ServerServiceApproveProcedure:       {ActivityRecovery, who + " approved a recovery", true},
		apiv1connect.ServerServiceReleaseProcedure:       {ActivityRecovery, "the server's shares were released to a new device", true},
	}[procedure]
	if !ok {
		e.Text = who + " asked for " + e.Procedure
		return
	}
	e.Kind, e.Text, e.Alarm = said.kind, said.text, said.alarm
}

// secondFactor says who confirmed a request, by this device's own ledger, or that
// nobody has. Without a confirmation that is right the server gave nothing, or
// something that it must not.
func (d *Device) secondFactor(e *ActivityEntry, request *api.Request, done, asked string) string {
	if len(request.Confirmations()) == 0 {
		return asked + ", which another device must confirm"
	}
	var by []string
	for _, c := range request.Confirmations() {
		own, ok := d.home.State().Device(c.Device)
		if !ok {
			continue
		}
		key, name := own.SignKey, fmt.Sprintf("device %d", c.Device)
		switch {
		case c.Key == apiv1.Confirmation_KEY_CONFIRM && c.Device == e.Device:
			key, name = own.ConfirmKey, "its confirm passphrase"
		case c.Key != apiv1.Confirmation_KEY_SIGN || c.Device == e.Device:
			continue
		}
		if request.Confirmed(c, key) {
			e.Confirmed = append(e.Confirmed, c.Device)
			by = append(by, name)
		}
	}
	if len(by) < len(request.Confirmations()) {
		e.Alarm = true
		return asked + " with a confirmation that is WRONG"
	}
	return done + ", confirmed by " + strings.Join(by, " and ")
}

// confirmed says what a device answered to what another one asked.
func confirmed(body []byte) string {
	answer := &apiv1.ConfirmRequest{}
	if err := proto.Unmarshal(body, answer); err != nil || len(answer.Id) < 4 {
		return "answered something that cannot be read"
	}
	id := hex.EncodeToString(answer.Id[:4])
	switch {
	case answer.Refuse:
		return "refused or withdrew request " + id
	case answer.Endorsement != nil:
		return "endorsed change " + id
	}
	return "confirmed request " + id
}

// askedByUs says whether a request that names a device of this account was signed
// with that device's key. Others are not for this ledger to know.
func (d *Device) askedByUs(e ActivityEntry, request *api.Request) bool {
	if e.Device == 0 {
		return true
	}
	own, ok := d.home.State().Device(e.Device)
	return ok && own.SignKey.Equal(request.Key)
}

func (e *ActivityEntry) reveal(body []byte, titles map[ledger.SlotID]string) string {
	asked := &apiv1.RevealRequest{}
	if err := proto.Unmarshal(body, asked); err != nil {
		return "something that cannot be read"
	}
	e.Purpose = asked.Purpose
	for _, s := range asked.Slots {
		if len(s.Slot) == len(ledger.SlotID{}) {
			e.Slots = append(e.Slots, ledger.SlotID(s.Slot))
		}
	}
	if len(e.Slots) == 1 {
		return cmp.Or(titles[e.Slots[0]], e.Slots[0].String())
	}
	return fmt.Sprintf("%d secrets at once (%s)", len(e.Slots), asked.Purpose)
}

// procedureName is the last part of a procedure's path.
func procedureName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
