import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;

/** Speaks MongoDB's protocol on 127.0.0.1 and keeps everything in memory: enough for one run of the suite. */
public class MongoStandIn {
    public static void main(String[] arguments) throws InterruptedException {
        MemoryBackend backend = new MemoryBackend() {
            @Override
            public Document handleMessage(MongoMessage message) {
                // The suite asks for it when it starts. The library does not know the command.
                if (message.getDocument().containsKey("getParameter")) {
                    Document version = new Document("version", "6.0");
                    return new Document("featureCompatibilityVersion", version).append("ok", 1.0);
                }
                return super.handleMessage(message);
            }
        };
        new MongoServer(backend).bind("127.0.0.1", Integer.parseInt(arguments[0]));
        Thread.currentThread().join();
    }
}
