package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// Prepared is a request that is signed and may be sent more than once, always
// with the same bytes: while another device has to confirm it, the server refuses
// it with [api.ErrConfirmationPending], and answers it when it comes again.
//
// Each Send gives the answer, a *[api.Refusal], or one of the errors at the top
// of this package. After ErrUnreachable the same request may be sent again.
type Prepared[A any] struct {
	client  *Client
	method  method
	request *apiv1.SignedRequest
	hash    [32]byte
}

// Hash returns the request's hash: the id under which it waits, which other
// devices confirm and to which an answer to Reveal is sealed.
func (p *Prepared[A]) Hash() [32]byte { return p.hash }

// Request returns the request. Do not change it.
func (p *Prepared[A]) Request() *apiv1.SignedRequest { return p.request }

// Send sends the request.
func (p *Prepared[A]) Send(ctx context.Context) (*A, error) {
	answer := new(A)
	// Only prepare makes a Prepared, and only of answers that are messages.
	if err := p.client.exchange(ctx, p.method, p.request, p.hash, any(answer).(proto.Message)); err != nil {
		return nil, err
	}
	return answer, nil
}

func prepare[A any, PA interface {
	*A
	proto.Message
}](c *Client, m method, procedure string, who api.Identity, body proto.Message, confirm func(*apiv1.SignedRequest)) (*Prepared[A], error) {
	request, hash, err := api.NewRequest(procedure, c.server, who, body, c.now(), c.rand)
	if err != nil {
		return nil, err
	}
	if confirm != nil {
		confirm(request)
	}
	return &Prepared[A]{client: c, method: m, request: request, hash: hash}, nil
}

// PrepareReveal asks for server shares. confirm adds the second factor of a
// device that is alone; it is nil where another device is to confirm.
func (c *Client) PrepareReveal(who api.Identity, r *apiv1.RevealRequest, confirm func(*apiv1.SignedRequest)) (*Prepared[apiv1.RevealAnswer], error) {
	return prepare[apiv1.RevealAnswer](c, apiv1connect.ServerServiceClient.Reveal, apiv1connect.ServerServiceRevealProcedure, who, r, confirm)
}

// PreparePropose asks other devices to endorse records.
func (c *Client) PreparePropose(who api.Identity, r *apiv1.ProposeRequest) (*Prepared[apiv1.ProposeAnswer], error) {
	return prepare[apiv1.ProposeAnswer](c, apiv1connect.ServerServiceClient.Propose, apiv1connect.ServerServiceProposeProcedure, who, r, nil)
}

// PrepareSetAlarms sets where alarms are sent; confirm is as in
// [Client.PrepareReveal].
func (c *Client) PrepareSetAlarms(who api.Identity, r *apiv1.SetAlarmsRequest, confirm func(*apiv1.SignedRequest)) (*Prepared[apiv1.SetAlarmsAnswer], error) {
	return prepare[apiv1.SetAlarmsAnswer](c, apiv1connect.ServerServiceClient.SetAlarms, apiv1connect.ServerServiceSetAlarmsProcedure, who, r, confirm)
}
