// Drives RabbitMQ's Java client through what an application does with it; a line per check, see node.js.

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

class Java {
    interface Check {
        void run() throws Exception;
    }

    interface Work {
        void run(Channel channel) throws Exception;
    }

    static final int WAIT_MS_MAX = 20_000;
    static final Map<String, Check> CHECKS = new LinkedHashMap<>();
    static boolean nio = false;

    static ConnectionFactory factory() {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost("127.0.0.1");
        factory.setPort(Integer.parseInt(System.getenv("INTEROP_PORT")));
        factory.setAutomaticRecoveryEnabled(false);
        if (nio) factory.useNio();
        return factory;
    }

    static void using(Work work) throws Exception {
        Connection connection = factory().newConnection();
        try {
            work.run(connection.createChannel());
        } finally {
            if (connection.isOpen()) connection.close();
        }
    }

    static void equal(Object found, Object wanted, String what) {
        if (!found.equals(wanted)) throw new IllegalStateException(what + ": " + found + " instead of " + wanted);
    }

    static Exception failure(Check work) {
        try {
            work.run();
        } catch (Exception error) {
            return error;
        }
        throw new IllegalStateException("it should have failed");
    }

    /** The reply code with which the broker closed what `error` came from. */
    static int code(Throwable error) {
        while (!(error instanceof ShutdownSignalException)) error = error.getCause();
        Object method = ((ShutdownSignalException) error).getReason();
        return method instanceof AMQP.Channel.Close
            ? ((AMQP.Channel.Close) method).getReplyCode()
            : ((AMQP.Connection.Close) method).getReplyCode();
    }

    static String fresh(Channel channel) throws IOException {
        return channel.queueDeclare().getQueue();
    }

    static GetResponse get(Channel channel, String queue) throws IOException {
        GetResponse response;
        do {
            response = channel.basicGet(queue, false);
        } while (response == null);
        return response;
    }

    /** All properties but the headers. */
    static String told(AMQP.BasicProperties properties) {
        return properties.builder().headers(null).build().toString();
    }

    static void body(int size) throws Exception {
        using(channel -> {
            String queue = fresh(channel);
            byte[] body = new byte[size];
            Arrays.fill(body, (byte) 'x');
            channel.confirmSelect();
            channel.basicPublish("", queue, null, body);
            channel.waitForConfirmsOrDie(WAIT_MS_MAX);
            equal(Arrays.equals(get(channel, queue).getBody(), body), true, "body");
        });
    }

    static void checks(String prefix) {
        CHECKS.put(prefix + "connect_and_close", () -> using(channel ->
            equal(channel.getConnection().getServerProperties().get("product").toString(), "RabbitMQ", "product")));
        CHECKS.put(prefix + "wrong_password", () -> {
            ConnectionFactory factory = factory();
            factory.setPassword("wrong");
            equal(failure(factory::newConnection).getClass(), AuthenticationFailureException.class, "error");
        });
        CHECKS.put(prefix + "missing_vhost", () -> {
            ConnectionFactory factory = factory();
            factory.setVirtualHost("nowhere");
            equal(code(failure(factory::newConnection)), 530, "code");
        });
        for (int size : new int[] {0, 1, 131064, 131072, 131073, 2_000_000}) {
            CHECKS.put(prefix + "body_of_" + size + "_bytes", () -> body(size));
        }
        CHECKS.put(prefix + "properties", () -> using(channel -> {
            String queue = fresh(channel);
            AMQP.BasicProperties wanted = new AMQP.BasicProperties.Builder()
                .contentType("text/plain").contentEncoding("utf-8").deliveryMode(2).priority(3).correlationId("c")
                .replyTo("r").expiration("60000").messageId("m").timestamp(new Date(1_700_000_000_000L)).type("t")
                .userId("guest").appId("a").headers(Map.of("mine", 1, "real", 1.5, "short", (short) 7)).build();
            channel.basicPublish("", queue, wanted, new byte[1]);
            AMQP.BasicProperties found = get(channel, queue).getProps();
            for (String name : wanted.getHeaders().keySet()) {
                equal(found.getHeaders().get(name), wanted.getHeaders().get(name), name);
            }
            equal(told(found), told(wanted), "properties");
        }));
        CHECKS.put(prefix + "two_thousand_confirms_from_four_threads", () -> using(first -> {
            CountDownLatch done = new CountDownLatch(4);
            List<Exception> errors = new ArrayList<>();
            for (int thread = 0; thread < 4; thread++) {
                Channel channel = first.getConnection().createChannel();
                new Thread(() -> {
                    try {
                        String queue = fresh(channel);
                        channel.confirmSelect();
                        for (int count = 0; count < 500; count++) channel.basicPublish("", queue, null, new byte[300]);
                        channel.waitForConfirmsOrDie(WAIT_MS_MAX);
                        equal(channel.messageCount(queue), 500L, "stored");
                    } catch (Exception error) {
                        errors.add(error);
                    }
                    done.countDown();
                }).start();
            }
            equal(done.await(WAIT_MS_MAX, TimeUnit.MILLISECONDS), true, "done");
            equal(errors, List.of(), "errors");
        }));
        CHECKS.put(prefix + "return_before_its_confirm", () -> using(channel -> {
            BlockingQueue<String> order = new ArrayBlockingQueue<>(9);
            channel.addReturnListener((code, text, exchange, key, properties, body) -> order.add(code + " " + text));
            channel.addConfirmListener((tag, several) -> order.add("ack " + tag), (tag, several) -> order.add("nack"));
            channel.confirmSelect();
            channel.basicPublish("", "nobody", true, null, new byte[1]);
            equal(order.poll(WAIT_MS_MAX, TimeUnit.MILLISECONDS), "312 NO_ROUTE", "first");
            equal(order.poll(WAIT_MS_MAX, TimeUnit.MILLISECONDS), "ack 1", "second");
        }));
        CHECKS.put(prefix + "consume_in_order_then_cancel", () -> using(channel -> {
            String queue = fresh(channel);
            for (int count = 0; count < 300; count++) channel.basicPublish("", queue, null, ("" + count).getBytes());
            channel.basicQos(5);
            BlockingQueue<String> got = new ArrayBlockingQueue<>(1000);
            String tag = channel.basicConsume(queue, false, new DefaultConsumer(channel) {
                @Override
                public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                        throws IOException {
                    got.add(new String(body));
                    getChannel().basicAck(envelope.getDeliveryTag(), false);
                }

                @Override
                public void handleCancelOk(String tag) {
                    got.add("cancelled");
                }
            });
            for (int count = 0; count < 300; count++) {
                equal(got.poll(WAIT_MS_MAX, TimeUnit.MILLISECONDS), "" + count, "body");
            }
            channel.basicCancel(tag);
            equal(got.poll(WAIT_MS_MAX, TimeUnit.MILLISECONDS), "cancelled", "end");
        }));
        CHECKS.put(prefix + "calls_by_direct_reply_to", () -> using(channel -> {
            String queue = fresh(channel);
            Channel serving = channel.getConnection().createChannel();
            RpcServer server = new RpcServer(serving, queue) {
                @Override
                public byte[] handleCall(byte[] request, AMQP.BasicProperties properties) {
                    return ("re: " + new String(request)).getBytes();
                }
            };
            Thread thread = new Thread(() -> {
                try {
                    server.mainloop();
                } catch (IOException | ShutdownSignalException ended) {
                    // The connection is closed at the end of the check.
                }
            });
            thread.start();
            RpcClient client = new RpcClient(channel, "", queue, WAIT_MS_MAX);
            for (int count = 0; count < 50; count++) equal(client.stringCall("" + count), "re: " + count, "answer");
        }));
        CHECKS.put(prefix + "channel_error_leaves_the_connection", () -> using(channel -> {
            equal(code(failure(() -> channel.queueDeclarePassive("nowhere"))), 404, "code");
            Channel second = channel.getConnection().createChannel();
            equal(code(failure(() -> second.exchangeDeclare("amq.mine", "direct"))), 403, "code");
            fresh(channel.getConnection().createChannel());
        }));
        CHECKS.put(prefix + "connection_error", () -> using(channel ->
            equal(code(failure(() -> channel.exchangeDeclare("interop-odd", "no-such-kind"))), 503, "code")));
        CHECKS.put(prefix + "transaction", () -> using(channel -> {
            String queue = fresh(channel);
            channel.txSelect();
            channel.basicPublish("", queue, null, "no".getBytes());
            channel.txRollback();
            channel.basicPublish("", queue, null, "yes".getBytes());
            channel.txCommit();
            equal(new String(get(channel, queue).getBody()), "yes", "body");
        }));
    }

    public static void main(String[] arguments) {
        checks("");
        checks("nio_");
        CHECKS.forEach((name, check) -> {
            nio = name.startsWith("nio_");
            long started = System.nanoTime();
            String line = "ok " + name;
            try {
                check.run();
            } catch (Exception error) {
                line = "not ok " + name + " # " + String.valueOf(error).split("\n")[0];
            }
            System.out.printf("%s (%.2fs)%n", line, (System.nanoTime() - started) / 1e9);
        });
        System.exit(0);
    }
}
