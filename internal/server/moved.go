package server

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// MovedHandler answers in the place of [Server.Handler] where the server has moved
// from: it says who it is, and refuses every other request with its signed word where
// it is now. It has no data, so that nothing can be written at two places.
func (s *Server) MovedHandler() http.Handler {
	mux := http.NewServeMux()
	methods := apiv1.File_zeropass_api_v1_service_proto.Services().ByName("ServerService").Methods()
	for i := range methods.Len() {
		s.mountMoved(mux, methods.Get(i))
	}
	return s.observed(s.limited(mux))
}

func (s *Server) mountMoved(mux *http.ServeMux, method protoreflect.MethodDescriptor) {
	procedure := "/" + apiv1connect.ServerServiceName + "/" + string(method.Name())
	options := []connect.HandlerOption{
		connect.WithSchema(method),
		connect.WithInterceptors(s.interceptors()...),
		connect.WithRecover(s.recovered),
		connect.WithReadMaxBytes(messageLimit(procedure)),
	}
	switch {
	case procedure == apiv1connect.ServerServiceIdentifyProcedure:
		mux.Handle(procedure, connect.NewUnaryHandler(procedure, service{s: s}.Identify, options...))
	case method.IsStreamingServer():
		mux.Handle(procedure, connect.NewServerStreamHandler(procedure, func(ctx context.Context, r in, _ *connect.ServerStream[apiv1.Hint]) error {
			return s.elsewhere(ctx, procedure, r)
		}, options...))
	default:
		mux.Handle(procedure, connect.NewUnaryHandler(procedure, func(ctx context.Context, r in) (out, error) {
			return nil, s.elsewhere(ctx, procedure, r)
		}, options...))
	}
}

// elsewhere refuses a request with the server's new address. Nothing of it is spent:
// the same bytes are good there.
func (s *Server) elsewhere(ctx context.Context, procedure string, request in) error {
	_, place, err := s.enter(ctx, procedure, request.Msg, request.Peer().Addr)
	if err != nil {
		return err
	}
	defer place.leave()
	now := s.now()
	r, err := api.ParseRequest(procedure, request.Msg)
	if err != nil {
		return s.refuse(procedure, nil, now, err)
	}
	if err = r.Fits(s.keys.SignKey(), now); err == nil {
		err = s.devices.check(r, place.class, time.Now())
	}
	if err == nil {
		moved := api.Refuse(api.ErrMoved, "it is at %s now", s.movedTo)
		moved.URL = s.movedTo
		err = moved
	}
	return s.refuse(procedure, r, now, err)
}
